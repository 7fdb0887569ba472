"""Does what ``spi train`` asks: one run, in one folder, that can be repeated and gone on with."""

import argparse
import importlib.util
import pathlib
import shlex
import shutil
import sys
import time

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    CheckpointCallback,
    ProgressBarCallback,
)
from stable_baselines3.common.logger import HumanOutputFormat, KVWriter, Logger, TensorBoardOutputFormat

from spi_plugins.cli.arguments import to_json
from spi_plugins.cli.curve import draw_curve
from spi_plugins.cli.dispatch import INTERRUPTED
from spi_plugins.cli.evaluation import SEED_OFFSET, EvaluationTask, evaluate
from spi_plugins.cli.interrupt import StopBetweenRollouts, TrainingInterrupted
from spi_plugins.cli.preparation import Preparation, prepare
from spi_plugins.cli.progress_file import ProgressFile
from spi_plugins.cli.run_folder import RunConfig, RunFolder
from spi_plugins.errors import MissingDependencyError


def train(args: argparse.Namespace) -> int:
    """Run ``spi train``: train, save, draw the curve, evaluate, and say how to go on.

    Returns:
        0, or 130 if Ctrl-C ended the training; the model is saved then as well.

    Raises:
        SPIError: an argument is wrong, or an optional package is missing.
    """
    if args.progress:
        _require_package("tqdm", "Progress bars")
        _require_package("rich", "Progress bars")
    if args.tensorboard_log is not None:
        _require_package("tensorboard", "Logs for tensorboard")
    run = prepare(args)
    model, folder, config = run.model, run.folder, run.config
    folder.write_config(config)
    folder.append_command(args.words)
    folder.write_system_info()
    model.set_logger(_logger(run, verbose=args.verbose))
    copies = f"{config.n_envs} environment{'s' if config.n_envs > 1 else ''}"
    _say(f"Training {config.algorithm} on {config.env}: {run.n_timesteps:,} steps in {copies}.")
    _say(f"The run's folder is {folder.path}")

    start, before = time.monotonic(), model.num_timesteps
    interrupted = _learn(run, show_progress=args.progress)
    seconds, steps = time.monotonic() - start, model.num_timesteps - before
    model.save(folder.model)
    save_replay(model, folder)
    if model.env is not None:
        model.env.close()
    model.logger.close()
    _say(f"{'Stopped after' if interrupted else 'Trained'} {steps:,} steps in {seconds:.1f} s.")
    if not interrupted and config.eval_episodes:
        _evaluate(folder, config)
    _report(run)
    return INTERRUPTED if interrupted else 0


def _learn(run: Preparation, *, show_progress: bool) -> bool:
    """Train; tell whether Ctrl-C ended it."""
    stopper = StopBetweenRollouts()
    callbacks = CallbackList([stopper, *_callbacks(run, show_progress=show_progress)])
    with stopper.listen():
        try:
            run.model.learn(
                run.n_timesteps, callback=callbacks, log_interval=1, reset_num_timesteps=not run.resumed
            )
        except TrainingInterrupted:
            callbacks.on_training_end()
    return stopper.requested


def save_replay(model: BaseAlgorithm, folder: RunFolder) -> None:
    """Write the replay buffer of an algorithm that has one."""
    if getattr(model, "replay_buffer", None) is not None:
        model.save_replay_buffer(folder.replay)  # type: ignore[attr-defined]


class _ReplayCheckpoint(BaseCallback):
    """Keeps the newest replay buffer, once, for it is much larger than the models."""

    def __init__(self, every: int, folder: RunFolder):
        super().__init__()
        self.every, self.folder = every, folder

    def _on_step(self) -> bool:
        if self.n_calls % self.every == 0:
            save_replay(self.model, self.folder)
        return True


def _callbacks(run: Preparation, *, show_progress: bool) -> list[BaseCallback]:
    config = run.config
    callbacks: list[BaseCallback] = []
    if config.save_freq:
        # SB3 counts calls, one for each step of all copies together.
        every = max(config.save_freq // config.n_envs, 1)
        callbacks.append(CheckpointCallback(every, str(run.folder.checkpoints), name_prefix=config.algorithm))
        callbacks.append(_ReplayCheckpoint(every, run.folder))
    callbacks += run.callbacks
    if show_progress:
        callbacks.append(ProgressBarCallback())
    return callbacks


def _logger(run: Preparation, *, verbose: int) -> Logger:
    folder, config = run.folder, run.config
    writers: list[KVWriter] = [ProgressFile(folder.progress, keep_until=run.model.num_timesteps)]
    if verbose:
        writers.append(HumanOutputFormat(sys.stdout))
    if config.tensorboard_log is not None:
        events = pathlib.Path(config.tensorboard_log) / config.algorithm / folder.path.name
        writers.append(TensorBoardOutputFormat(str(events)))
    return Logger(str(folder.path), writers)


def _evaluate(folder: RunFolder, config: RunConfig) -> None:
    """Evaluate the saved file, not the model in memory: what counts is what can be loaded."""
    task = EvaluationTask(
        config.env,
        config.env_kwargs,
        config.eval_episodes,
        deterministic=None,
        seed=config.seed + SEED_OFFSET,
    )
    _say(f"Evaluating {config.eval_episodes} episode{'s' if config.eval_episodes > 1 else ''} ...")
    result = evaluate(config.algorithm, folder.model, task)
    folder.evaluation.write_text(to_json(result._asdict()) + "\n")
    _say(f"{result}.")


def _report(run: Preparation) -> None:
    """Say where everything is, and the exact commands that go on from there."""
    folder, config = run.folder, run.config
    try:
        drawn = draw_curve(folder.progress, folder.curve, f"{config.algorithm} on {config.env}")
        curve = str(folder.curve) if drawn else "none: no episode ended during training"
    except MissingDependencyError as error:
        curve = f"none: {error}"
    _say(f"  model           {folder.model}")
    _say(f"  learning curve  {curve}")
    _say(f"  log             {folder.progress}")
    missing = config.n_timesteps - run.model.num_timesteps
    more = missing if missing > 0 else run.n_timesteps
    _say(f"Evaluate: {shlex.join([program(), 'eval', str(folder.path)])}")
    _say(f"Go on:    {shlex.join([program(), 'train', '--resume', str(folder.path), '-n', str(more)])}")


def program() -> str:
    """How the user's shell finds this command again: by its name or, off the path, as it was called now."""
    called = pathlib.Path(sys.argv[0])
    found = shutil.which("spi")
    if called.name != "spi" or (found is not None and pathlib.Path(found).samefile(called)):
        return "spi"
    return str(called)


def _require_package(package: str, purpose: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise MissingDependencyError.named(package, purpose, "cli")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
