"""The folder of one training run: its settings, its results, and all that is needed to repeat or continue it."""

import contextlib
import dataclasses
import json
import pathlib
import platform
import re
import shlex
import zipfile
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from spi_plugins import __version__
from spi_plugins.archive import write_atomically
from spi_plugins.cli.arguments import CommandError, to_json
from spi_plugins.cli.env_recipe import EnvRecipe, EvaluationTask
from spi_plugins.env_copies import Wrappers
from spi_plugins.plugins.registry import describe, did_you_mean

# Evaluation seeds are this far from those of training, so that it plays other episodes.
SEED_OFFSET = 1_000_003


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that is needed to repeat a run; refuses fields of wrong types with a ``ValueError``."""

    algorithm: str  # registered name
    policy: str  # the policy's name
    env: str  # a registered name, ``"<family>:<id>"`` or a Gymnasium id
    env_kwargs: Mapping[str, Any]  # for the environment's factory
    n_envs: int  # copies of the environment
    seed: int  # of networks, actions and environment
    n_timesteps: int  # environment steps to take in total, resumed parts included
    hyperparameters: Mapping[str, Any]  # for the algorithm's constructor; the rest have its defaults
    preset: str | None = None  # the preset that has set what the words left open
    wrappers: Wrappers = ()  # of the environment, the innermost first
    vec_env: str | None = None  # how the copies are run; ``None`` for the default
    normalize: Mapping[str, Any] | None = None  # arguments of ``VecNormalize``; ``None`` for none
    frame_stack: int | None = None  # observations that ``VecFrameStack`` puts together; ``None`` for none
    callbacks: Sequence[tuple[str, Mapping[str, Any]]] = ()  # registered callbacks, ``[name, kwargs]`` each
    save_freq: int = 0  # environment steps between checkpoints; 0 for none
    eval_freq: int = 0  # environment steps between evaluations during training; 0 for none
    eval_episodes: int = 10  # episodes of an evaluation; 0 for none, not even at the end
    n_eval_envs: int | None = None  # copies to evaluate in; ``None`` for the default
    eval_cost_limit: float | None = None  # of an episode's mean cost; ``None`` for the algorithm's own
    tensorboard_log: str | None = None  # TensorBoard's folder, or ``None``
    track: str | None = None  # the service that gets the log, or ``None``
    track_project: str = "spi-plugins"  # where it files the run
    save_replay_buffer: bool = True  # whether the replay buffer is stored with the model
    resumed_from: str | None = None  # the model file that the run started from, if any
    version: str = __version__  # the version of spi-plugins that wrote the run

    def __post_init__(self) -> None:
        for name, allowed in get_type_hints(type(self)).items():
            value = getattr(self, name)
            kinds = tuple(
                get_origin(kind) or kind
                for kind in (get_args(allowed) if isinstance(allowed, UnionType) else (allowed,))
            )
            if (
                not isinstance(value, kinds)
                or (isinstance(value, bool) and bool not in kinds)
                or (isinstance(value, int | float) and not value >= 0)
            ):
                raise ValueError(f"{name} cannot be {value!r}")

    @property
    def recipe(self) -> EnvRecipe:
        """How the run makes its environments."""
        return EnvRecipe(
            self.env, self.env_kwargs, self.wrappers, self.vec_env, self.normalize, self.frame_stack
        )

    def evaluation_task(self) -> EvaluationTask:
        """The evaluation at the end, and each one during training but for its seed."""
        return EvaluationTask(
            self.recipe,
            self.eval_episodes,
            deterministic=None,
            seed=self.seed + SEED_OFFSET,
            n_envs=self.n_eval_envs,
            cost_limit=self.eval_cost_limit,
        )


class RunFolder:
    """The folder of a run.

    Attributes:
        model: the model as training left it.
        best_model: the best model of the evaluations during training, if there were any.
        best: the evaluation that it won by.
        evaluations: the evaluations during training, as ``EvalCallback`` of Stable-Baselines3 stores them.
        replay: the replay buffer at the last checkpoint or at the end, for algorithms that have one.
        checkpoints: folder of the models saved during training.
        progress: the log, one row per iteration.
        curve: picture of the mean return over time.
        evaluation: the evaluation at the end.
        certificate: what ``spi certify`` found last.
        calibration: what ``spi calibrate`` found last.
        config: the run's ``RunConfig``.
        fault: the traceback of the error that ended the run, if one did.
        profile: where the time went, if that was asked for.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.model = path / "model.zip"
        self.best_model = path / "best_model.zip"
        self.best = path / "best_model.json"
        self.evaluations = path / "evaluations.npz"
        self.replay = path / "replay.npz"
        self.checkpoints = path / "checkpoints"
        self.progress = path / "progress.csv"
        self.curve = path / "learning_curve.png"
        self.evaluation = path / "evaluation.json"
        self.certificate = path / "certificate.json"
        self.calibration = path / "calibration.json"
        self.config = path / "config.json"
        self.fault = path / "error.txt"
        self.profile = path / "profile" / "perfetto_trace.json.gz"

    def write_config(self, config: RunConfig) -> None:
        """Write ``config.json``."""
        write_atomically(self.config, f"{to_json(dataclasses.asdict(config))}\n".encode())

    def read_config(self) -> RunConfig:
        """Read ``config.json``.

        Raises:
            CommandError: the file is missing, or is not the configuration of a run.
        """
        try:
            fields = json.loads(self.config.read_text("utf-8"))
            for key in ("callbacks", "wrappers"):
                fields[key] = tuple((str(name), {**kwargs}) for name, kwargs in fields.get(key, ()))
            return RunConfig(**fields)
        except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise CommandError(
                f"{self.config} is not the configuration of a run: {describe(error)}"
            ) from error

    def read_best(self) -> dict[str, Any] | None:
        """Read ``best_model.json``; ``None`` if there is no best model.

        Raises:
            CommandError: the file is not an evaluation.
        """
        try:
            fields: dict[str, Any] = json.loads(self.best.read_text("utf-8"))
            return {**fields, "mean_return": float(fields["mean_return"])}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, LookupError) as error:
            raise CommandError(f"{self.best} is not an evaluation: {describe(error)}") from error

    def awaits_evaluation(self, config: RunConfig) -> bool:
        """Whether the run was killed before the evaluation at its end: there is none of the present model."""
        if not config.eval_episodes:
            return False
        done = self.evaluation.stat().st_mtime_ns if self.evaluation.is_file() else 0
        return _newest_model(self).stat().st_mtime_ns > done

    def append_command(self, words: Sequence[str]) -> None:
        """Record the command that starts or continues the run."""
        with (self.path / "command.txt").open("a") as file:
            file.write(shlex.join(["spi", *words]) + "\n")

    def write_system_info(self) -> None:
        """Record the machine and the versions."""
        import jax
        from stable_baselines3.common.utils import get_system_info

        _, text = get_system_info(print_info=False)
        devices = ", ".join(map(str, jax.devices()))
        ours = f"- spi-plugins: {__version__}\n- JAX: {jax.__version__} on {devices}\n"
        text += f"{ours}- Machine: {platform.machine()}\n"
        write_atomically(self.path / "system_info.txt", text.encode())


def new_run_folder(root: pathlib.Path, algorithm: str, env: str) -> RunFolder:
    """Make ``<root>/<algorithm>/<env>_<k>`` with the next free ``k``.

    Raises:
        CommandError: the folder cannot be made.
    """
    parent, stem = root / algorithm, stem_of(env)
    try:
        parent.mkdir(parents=True, exist_ok=True)
        number = max(_numbers(parent, stem), default=0) + 1
        while True:
            try:
                (parent / f"{stem}_{number}").mkdir()
            except FileExistsError:  # another run was started at the same time
                number += 1
            else:
                return RunFolder(parent / f"{stem}_{number}")
    except OSError as error:
        raise CommandError(f"No folder for the run can be made in {parent}: {error}") from error


def find_run(root: pathlib.Path, algorithm: str, env: str, number: int) -> RunFolder:
    """The run ``<root>/<algorithm>/<env>_<number>``, or the newest if the number is 0.

    Raises:
        CommandError: there is none.
    """
    parent, stem = root / algorithm, stem_of(env)
    numbers = _numbers(parent, stem) if parent.is_dir() else []
    if not numbers:
        trained = [entry.name.rpartition("_")[0] for entry in parent.iterdir()] if parent.is_dir() else []
        hint = did_you_mean(stem, trained) or f" Make one: spi train {algorithm} --env {env}"
        raise CommandError(f"There is no run of {algorithm} on {env} in {root}.{hint}")
    if number and number not in numbers:
        raise CommandError(
            f"There is no {parent / stem}_{number}; there are {', '.join(map(str, sorted(numbers)))}."
        )
    return RunFolder(parent / f"{stem}_{number or max(numbers)}")


def stem_of(env: str) -> str:
    """An environment's name as part of a file's."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", env)


def _numbers(parent: pathlib.Path, stem: str) -> list[int]:
    pattern = re.compile(re.escape(stem) + r"_(\d+)")
    return [int(match[1]) for entry in parent.iterdir() if (match := pattern.fullmatch(entry.name))]


def locate_model(path: pathlib.Path, *, best: bool = False) -> tuple[pathlib.Path, RunFolder | None]:
    """The model file that a run's folder or a file stands for, and the run that it belongs to.

    Args:
        path: a run's folder or a model file.
        best: the best model of the run instead of the newest.

    Raises:
        CommandError: there is no such model.
    """
    if path.is_dir():
        run = RunFolder(path)
        if (path / "seeds.json").is_file():
            raise CommandError(f"{path} holds runs with several seeds; name one, such as {path / 'seed_0'}.")
        if not run.config.is_file():
            raise CommandError(f"{path} is not a run: it has no config.json.")
        return _best_model(run) if best else _newest_model(run), run
    if best:
        raise CommandError(f"--best takes a run's folder, and {path} is none.")
    if not path.is_file():
        raise CommandError(f"There is neither a run nor a model at {path}.")
    for folder in (path.parent, path.parent.parent):  # model.zip, or one of checkpoints/
        if (folder / "config.json").is_file():
            return path, RunFolder(folder)
    return path, None


def _best_model(run: RunFolder) -> pathlib.Path:
    if not run.best_model.is_file():
        raise CommandError(
            f"{run.path} has no best model: it was trained without --eval-freq, or no evaluation was within the limit "
            "of the cost."
        )
    return run.best_model


def _newest_model(run: RunFolder) -> pathlib.Path:
    """The final model, or the newest checkpoint if the run was continued later and then killed."""
    models = _models(run)
    if not models:
        raise CommandError(f"{run.path} holds no model: it ended before the first checkpoint.")
    return models[0]


def _models(run: RunFolder) -> list[pathlib.Path]:
    """The newest first."""
    models = [path for path in (run.model, *run.checkpoints.glob("*.zip")) if path.is_file()]
    return sorted(models, key=lambda path: path.stat().st_mtime_ns, reverse=True)


def model_of_replay(run: RunFolder, newest: pathlib.Path) -> pathlib.Path:
    """The newest model that the replay buffer of a killed run belongs to; ``newest`` if there is none.

    A model is written before its buffer, and a kill may come between the two.
    """
    with contextlib.suppress(CommandError):  # there is no buffer, or one that loading says more about
        remembered = steps_at(run.replay)
        return next((model for model in _models(run) if steps_at(model) == remembered), newest)
    return newest


def steps_at(file: pathlib.Path) -> int:
    """The time steps that a model or a replay buffer was written at, read from its description alone.

    Raises:
        CommandError: the file is damaged.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            stored = json.loads(archive.read("data"))
        # Our models count in one place; SB3's have all attributes side by side.
        return int(stored.get("counters", stored)["num_timesteps"])
    except (OSError, ValueError, LookupError, zipfile.BadZipFile) as error:
        raise CommandError(f"{file} cannot be read: {describe(error)}") from error


def statistics_of(model: pathlib.Path) -> pathlib.Path:
    """Where the statistics of ``VecNormalize`` are, if a model's own file does not hold them.

    The names are those of rl_zoo3 and of ``CheckpointCallback``.
    """
    checkpoint = re.fullmatch(r"(.+)_(\d+)_steps", model.stem)
    if checkpoint is not None:
        return model.with_name(f"{checkpoint[1]}_vecnormalize_{checkpoint[2]}_steps.pkl")
    return model.with_name("vecnormalize.pkl" if model.stem == "model" else f"{model.stem}_vecnormalize.pkl")
