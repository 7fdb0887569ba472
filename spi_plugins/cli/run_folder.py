"""The folder of one training run: its settings, its results, and all that is needed to repeat or continue it."""

import dataclasses
import json
import pathlib
import platform
import re
import shlex
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from spi_plugins import __version__
from spi_plugins.archive import write_atomically
from spi_plugins.cli.arguments import CommandError, to_json
from spi_plugins.plugins.registry import describe

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
    callbacks: Sequence[tuple[str, Mapping[str, Any]]] = ()  # registered callbacks, ``[name, kwargs]`` each
    save_freq: int = 0  # environment steps between checkpoints; 0 for none
    eval_episodes: int = 10  # episodes of the evaluation at the end; 0 for none
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
                or (isinstance(value, int) and value < 0)
            ):
                raise ValueError(f"{name} cannot be {value!r}")


class EvaluationTask(NamedTuple):
    """What to play. ``env_kwargs`` and ``seed`` are those of the evaluation's own environment.

    ``deterministic=None`` samples actions if observations are images and takes the most likely ones otherwise, as
    the RL Zoo does: in an Atari game, a deterministic policy that is stuck stays stuck until the time limit.
    """

    env: str
    env_kwargs: Mapping[str, Any]
    n_episodes: int
    deterministic: bool | None
    seed: int


class RunFolder:
    """The folder of a run.

    Attributes:
        model: the model as training left it.
        replay: the replay buffer at the last checkpoint or at the end, for algorithms that have one.
        checkpoints: folder of the models saved during training.
        progress: the log, one row per iteration.
        curve: picture of the mean return over time.
        evaluation: the evaluation at the end.
        config: the run's ``RunConfig``.
        fault: the traceback of the error that ended the run, if one did.
        profile: where the time went, if that was asked for.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.model = path / "model.zip"
        self.replay = path / "replay.npz"
        self.checkpoints = path / "checkpoints"
        self.progress = path / "progress.csv"
        self.curve = path / "learning_curve.png"
        self.evaluation = path / "evaluation.json"
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
            callbacks = tuple((str(name), {**kwargs}) for name, kwargs in fields.pop("callbacks"))
            return RunConfig(callbacks=callbacks, **fields)
        except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise CommandError(
                f"{self.config} is not the configuration of a run: {describe(error)}"
            ) from error

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
    parent = root / algorithm
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", env)
    pattern = re.compile(re.escape(stem) + r"_(\d+)")
    try:
        parent.mkdir(parents=True, exist_ok=True)
        taken = [int(match[1]) for entry in parent.iterdir() if (match := pattern.fullmatch(entry.name))]
        number = max(taken, default=0) + 1
        while True:
            try:
                (parent / f"{stem}_{number}").mkdir()
            except FileExistsError:  # another run was started at the same time
                number += 1
            else:
                return RunFolder(parent / f"{stem}_{number}")
    except OSError as error:
        raise CommandError(f"No folder for the run can be made in {parent}: {error}") from error


def locate_model(path: pathlib.Path) -> tuple[pathlib.Path, RunFolder | None]:
    """The model file that a run's folder or a file stands for, and the run that it belongs to.

    Raises:
        CommandError: there is no such model.
    """
    if path.is_dir():
        run = RunFolder(path)
        if (path / "seeds.json").is_file():
            raise CommandError(f"{path} holds runs with several seeds; name one, such as {path / 'seed_0'}.")
        if not run.config.is_file():
            raise CommandError(f"{path} is not a run: it has no config.json.")
        return _newest_model(run), run
    if not path.is_file():
        raise CommandError(f"There is neither a run nor a model at {path}.")
    for folder in (path.parent, path.parent.parent):  # model.zip, or one of checkpoints/
        if (folder / "config.json").is_file():
            return path, RunFolder(folder)
    return path, None


def _newest_model(run: RunFolder) -> pathlib.Path:
    """The final model, or the newest checkpoint if the run was continued later and then killed."""
    models = [path for path in (run.model, *run.checkpoints.glob("*.zip")) if path.is_file()]
    if not models:
        raise CommandError(f"{run.path} holds no model: it ended before the first checkpoint.")
    return max(models, key=lambda path: path.stat().st_mtime_ns)
