"""The folder of one training run: what was asked, what came out, and enough to repeat or go on with it."""

import dataclasses
import json
import pathlib
import platform
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from spi_plugins import __version__
from spi_plugins.cli.arguments import CommandError, to_json


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that is needed to repeat a run.

    Attributes:
        algorithm: registered name.
        policy: the policy's name.
        env: a registered name, ``"<family>:<id>"`` or a Gymnasium id.
        env_kwargs: for the environment's factory.
        n_envs: copies of the environment.
        seed: of networks, actions and environment.
        n_timesteps: environment steps that were asked for, resumed parts included.
        hyperparameters: for the algorithm's constructor; what is not here has the algorithm's default.
        callbacks: registered callbacks, ``[name, kwargs]`` each.
        save_freq: environment steps between two checkpoints; 0 for none.
        eval_episodes: episodes of the evaluation at the end; 0 for none.
        tensorboard_log: tensorboard's folder, or ``None``.
        resumed_from: the model file that the run began with, if it was not trained from scratch.
        version: of spi-plugins, that wrote the run.
    """

    algorithm: str
    policy: str
    env: str
    env_kwargs: Mapping[str, Any]
    n_envs: int
    seed: int
    n_timesteps: int
    hyperparameters: Mapping[str, Any]
    callbacks: Sequence[tuple[str, Mapping[str, Any]]] = ()
    save_freq: int = 0
    eval_episodes: int = 10
    tensorboard_log: str | None = None
    resumed_from: str | None = None
    version: str = __version__


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """The paths inside the folder of a run."""

    path: pathlib.Path

    @property
    def model(self) -> pathlib.Path:
        """The model as training left it."""
        return self.path / "model.zip"

    @property
    def replay(self) -> pathlib.Path:
        """The replay buffer at the last checkpoint or at the end, of algorithms that have one."""
        return self.path / "replay.npz"

    @property
    def checkpoints(self) -> pathlib.Path:
        """Folder of the models saved on the way."""
        return self.path / "checkpoints"

    @property
    def progress(self) -> pathlib.Path:
        """The log, one row per iteration."""
        return self.path / "progress.csv"

    @property
    def curve(self) -> pathlib.Path:
        """Picture of the mean return over time."""
        return self.path / "learning_curve.png"

    @property
    def evaluation(self) -> pathlib.Path:
        """The evaluation at the end."""
        return self.path / "evaluation.json"

    @property
    def config(self) -> pathlib.Path:
        """What was asked."""
        return self.path / "config.json"

    def write_config(self, config: RunConfig) -> None:
        """Store what was asked."""
        self.config.write_text(to_json(dataclasses.asdict(config)) + "\n")

    def read_config(self) -> RunConfig:
        """What was asked.

        Raises:
            CommandError: the file is missing or is none of ours.
        """
        try:
            fields = json.loads(self.config.read_text())
            callbacks = tuple((name, kwargs) for name, kwargs in fields.pop("callbacks"))
            return RunConfig(callbacks=callbacks, **fields)
        except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise CommandError(f"{self.config} is no run's configuration: {error!r}") from error

    def append_command(self, words: Sequence[str]) -> None:
        """Note the command that starts, or goes on with, the run."""
        with (self.path / "command.txt").open("a") as file:
            file.write(shlex.join(["spi", *words]) + "\n")

    def write_system_info(self) -> None:
        """Note the machine and the versions."""
        import jax
        from stable_baselines3.common.utils import get_system_info

        _, text = get_system_info(print_info=False)
        devices = ", ".join(map(str, jax.devices()))
        ours = f"- spi-plugins: {__version__}\n- JAX: {jax.__version__} on {devices}\n"
        (self.path / "system_info.txt").write_text(f"{text}{ours}- Machine: {platform.machine()}\n")


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
    """The model file that a user means by a run's folder or by a file, and the run that it belongs to.

    Raises:
        CommandError: there is no such model.
    """
    if path.is_dir():
        run = RunFolder(path)
        if not run.config.is_file():
            raise CommandError(f"{path} is no run: it has no config.json.")
        return _newest_model(run), run
    if not path.is_file():
        raise CommandError(f"There is no run and no model at {path}.")
    for folder in (path.parent, path.parent.parent):  # model.zip, or one of checkpoints/
        if (folder / "config.json").is_file():
            return path, RunFolder(folder)
    return path, None


def _newest_model(run: RunFolder) -> pathlib.Path:
    """The final model, unless the run was gone on with since and killed: then its newest checkpoint."""
    models = [path for path in (run.model, *run.checkpoints.glob("*.zip")) if path.is_file()]
    if not models:
        raise CommandError(f"{run.path} holds no model: it was ended before the first checkpoint.")
    return max(models, key=lambda path: path.stat().st_mtime_ns)
