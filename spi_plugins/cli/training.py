"""Runs ``spi train``: one run, in one folder, that can be repeated and continued."""

import argparse
import contextlib
import dataclasses
import pathlib
import shlex
import shutil
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, CheckpointCallback
from stable_baselines3.common.logger import HumanOutputFormat, KVWriter, Logger, TensorBoardOutputFormat

from spi_plugins.algorithms.joint_training import learn_together
from spi_plugins.algorithms.progress_bar import added_progress_bar
from spi_plugins.algorithms.quiet_steps import before_multiple
from spi_plugins.algorithms.stored_algorithm import StoredAlgorithm
from spi_plugins.archive import write_atomically
from spi_plugins.cli.arguments import CommandError, RunError, to_json
from spi_plugins.cli.cost_log import LogCosts
from spi_plugins.cli.curve import draw_curve
from spi_plugins.cli.dispatch import INTERRUPTED
from spi_plugins.cli.env_recipe import needs_trust
from spi_plugins.cli.evaluation import evaluate, find_algorithm
from spi_plugins.cli.evaluation_result import Evaluation
from spi_plugins.cli.evaluations_file import read_evaluations
from spi_plugins.cli.interrupt import StopBetweenRollouts, TrainingInterrupted
from spi_plugins.cli.preparation import Preparation, prepare
from spi_plugins.cli.processes import writes
from spi_plugins.cli.profiling import Profile
from spi_plugins.cli.progress_file import ProgressFile
from spi_plugins.cli.run_folder import RunConfig, RunFolder
from spi_plugins.cli.statistics_file import save_statistics
from spi_plugins.cli.trackers import TrackedRun, Tracker
from spi_plugins.cli.training_evaluation import EvaluateInTraining, Plan
from spi_plugins.errors import MissingDependencyError
from spi_plugins.plugins.registry import describe


class _Faults:
    """Collects what goes wrong in a run, so that the steps after it still save what there is."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.sentences: list[str] = []

    @contextlib.contextmanager
    def collect(self, what: str) -> Iterator[None]:
        """Run a block; an error ends it, is written down, and is described as ``what`` having failed."""
        try:
            yield
        except (KeyboardInterrupt, TrainingInterrupted):
            raise
        except BaseException as fault:  # third parties raise all kinds
            self.sentences.append(f"{what} failed: {describe(fault)}")
            with contextlib.suppress(OSError):
                self.folder.path.mkdir(parents=True, exist_ok=True)
                with self.folder.fault.open("a") as file:
                    traceback.print_exception(fault, file=file)

    def raise_if_any(self) -> None:
        """Raise one ``RunError`` that names them all."""
        if self.sentences:
            details = f" (details in {self.folder.fault})" if self.folder.fault.is_file() else ""
            raise RunError(f"{'. '.join(self.sentences)}{details}")


def train(args: argparse.Namespace) -> int:
    """Train, save, draw the curve, evaluate, and print how to continue.

    Returns:
        0, or 130 if Ctrl-C ended the training; the model is saved in both cases.

    Raises:
        SPIError: an argument is wrong.
        RunError: the run failed; what could be saved is saved.
    """
    return train_prepared(prepare(args), args)


def train_prepared(run: Preparation, args: argparse.Namespace) -> int:
    """``train``, of a run that is ready."""
    begun = _begin(run, args)
    interrupted = False
    if run.n_timesteps:
        with begun.faults.collect("Training"):
            interrupted = _learn(run, show_progress=args.progress, profile=args.profile)
    else:
        config = run.config
        _say(
            f"{run.folder.path} has taken all of its {config.n_timesteps:,} steps; its evaluation is missing."
        )
    return _finish(run, begun, interrupted, go_on=args.group is None, concludes=writes(args))


def train_together(runs: Sequence[Preparation], args: argparse.Namespace) -> list[int]:
    """``train`` of runs that differ in their seed alone, all in one program; return the code of each.

    Raises:
        RunError: one failed; what could be saved of each is saved.
    """
    begun = [_begin(run, args) for run in runs]
    interrupted = False
    with begun[0].faults.collect("Training"):
        interrupted = _learn_together(runs, show_progress=args.progress)
    for others in begun[1:]:
        others.faults.sentences += begun[0].faults.sentences
    codes, error = [], None
    for run, each in zip(runs, begun, strict=True):
        try:
            codes.append(_finish(run, each, interrupted, go_on=False, concludes=True))
        except RunError as found:  # the others are to be saved, too
            error = error or found
    if error is not None:
        raise error
    return codes


class _Begun(NamedTuple):
    """A run whose folder is written."""

    faults: _Faults
    tracker: Tracker | None


def _begin(run: Preparation, args: argparse.Namespace) -> _Begun:
    model, folder, config = run.model, run.folder, run.config
    faults, tracker = _Faults(folder), None
    with faults.collect("Writing the run's folder"):
        folder.write_config(config)
        folder.append_command(args.words)
        folder.write_system_info()
        model.set_logger(_logger(run, verbose=args.verbose))
    with faults.collect(f"Starting {config.track}"):
        tracker = _tracker(run)
    faults.raise_if_any()
    return _Begun(faults, tracker)


def _finish(run: Preparation, begun: _Begun, interrupted: bool, *, go_on: bool, concludes: bool) -> int:
    """Save, evaluate and report; of several processes, one concludes."""
    model, folder, config = run.model, run.folder, run.config
    faults, tracker = begun
    stopped = interrupted or bool(faults.sentences)
    _save(run, faults)
    if concludes and not stopped and config.eval_episodes and not faults.sentences:
        with faults.collect("The evaluation"):
            result = evaluate_run(folder, config)
            if tracker is not None:
                tracker.conclude(result._asdict(), model.num_timesteps)
    with faults.collect("Closing the log"):
        model.logger.close()
    if concludes:
        _report(run, go_on=go_on)
    faults.raise_if_any()
    return INTERRUPTED if interrupted else 0


def _learn_together(runs: Sequence[Preparation], *, show_progress: bool) -> bool:
    """Train all; return whether Ctrl-C ended it."""
    first, stopper = runs[0], StopBetweenRollouts()
    seeds = ", ".join(str(run.config.seed) for run in runs)
    _say(
        f"Training {first.config.algorithm} on {first.config.env}: {first.n_timesteps:,} steps in "
        f"{first.config.n_envs} environments for each of the seeds {seeds}, in one program."
    )
    callbacks: list[Any] = [[*_evaluations(run, stopper), stopper, *_callbacks(run)] for run in runs]
    start = time.monotonic()
    try:
        with stopper.listen(), added_progress_bar(callbacks[0], shown=show_progress) as callbacks[0]:
            learn_together([run.model for run in runs], first.n_timesteps, callbacks)  # type: ignore[type-var]
    except TrainingInterrupted:
        pass
    finally:
        steps = sum(run.model.num_timesteps for run in runs)
        done = "Stopped after" if stopper.requested else "Trained"
        _say(f"{done} {steps:,} steps in {time.monotonic() - start:.1f} s.")
    return stopper.requested


def _learn(run: Preparation, *, show_progress: bool, profile: bool) -> bool:
    """Train; return whether Ctrl-C or the run's judge ended it."""
    config = run.config
    copies = f"{config.n_envs} environment{'s' if config.n_envs > 1 else ''}"
    _say(f"Training {config.algorithm} on {config.env}: {run.n_timesteps:,} steps in {copies}.")
    _say(f"The run's folder is {run.folder.path}")
    start, before, completed = time.monotonic(), run.model.num_timesteps, False
    stopper = StopBetweenRollouts()
    profiles = [Profile(run.folder.profile)] if profile else []
    callbacks: BaseCallback = CallbackList(
        [*_evaluations(run, stopper), stopper, *_callbacks(run), *profiles]
    )
    try:
        with stopper.listen(), added_progress_bar(callbacks, shown=show_progress) as callbacks:
            try:
                run.model.learn(
                    run.n_timesteps, callback=callbacks, log_interval=1, reset_num_timesteps=not run.resumed
                )
                completed = not stopper.requested
            except TrainingInterrupted:
                callbacks.on_training_end()
    finally:
        seconds, steps = time.monotonic() - start, run.model.num_timesteps - before
        _say(f"{'Trained' if completed else 'Stopped after'} {steps:,} steps in {seconds:.1f} s.")
    return not completed


def _save(run: Preparation, faults: _Faults) -> None:
    """Save the model and what it needs to continue, and close what is open."""
    model, folder = run.model, run.folder
    if not folder.config.is_file():  # somebody deleted the folder during training
        with faults.collect("Writing the run's folder"):
            folder.path.mkdir(parents=True, exist_ok=True)
            folder.write_config(run.config)
    with faults.collect("Saving the model"):
        model.save(folder.model)
        save_statistics(model, folder.model)
    if run.config.save_replay_buffer:
        with faults.collect("Saving the replay buffer"):
            save_replay(model, folder)
    for env in (model.env, run.evaluation_env):
        # A dead worker cannot be closed either, which is not news.
        with contextlib.suppress(*([Exception] if faults.sentences else [])):
            if env is not None:
                env.close()


def save_replay(model: BaseAlgorithm, folder: RunFolder) -> None:
    """Write the replay buffer of an algorithm that has one."""
    if getattr(model, "replay_buffer", None) is not None:
        model.save_replay_buffer(folder.replay)  # type: ignore[attr-defined]


class _ReplayCheckpoint(BaseCallback):
    """Keeps only the newest replay buffer, because it is much larger than a model."""

    def __init__(self, every: int, folder: RunFolder):
        super().__init__()
        self.every, self.folder = every, folder

    def quiet_steps(self) -> int:
        """The steps before the next one that is stored."""
        return before_multiple(self.n_calls, self.every)

    def _on_step(self) -> bool:
        if self.n_calls % self.every == 0:
            save_replay(self.model, self.folder)
        return True


def _evaluations(run: Preparation, stopper: StopBetweenRollouts) -> list[BaseCallback]:
    """Before the ``stopper``, or the evaluation after its rollout would be left out."""
    if run.evaluation_env is None:
        return []
    plan = Plan(
        run.config.eval_freq, run.config.evaluation_task(), run.folder, lambda: stopper.requested, run.judge
    )
    return [EvaluateInTraining(plan, run.evaluation_env, run.model.num_timesteps)]


def _callbacks(run: Preparation) -> list[BaseCallback]:
    config = run.config
    callbacks: list[BaseCallback] = [LogCosts(config.eval_cost_limit)]
    if config.save_freq:
        # SB3 counts calls, one for each step of all copies together.
        every = max(config.save_freq // config.n_envs, 1)
        callbacks.append(
            CheckpointCallback(
                every,
                str(run.folder.checkpoints),
                name_prefix=config.algorithm,
                save_vecnormalize=not isinstance(run.model, StoredAlgorithm),
            )
        )
        if config.save_replay_buffer:
            callbacks.append(_ReplayCheckpoint(every, run.folder))
    callbacks += run.callbacks
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


def _tracker(run: Preparation) -> Tracker | None:
    """Add the service that the run's log also goes to, if there is one."""
    folder, config = run.folder, run.config
    if config.track is None:
        return None
    group = f"{config.algorithm} {config.env}"
    tracked = TrackedRun(config.track_project, group, dataclasses.asdict(config), folder.path)
    tracker = Tracker(config.track, tracked)
    run.model.logger.output_formats.append(tracker)
    return tracker


def evaluate_run(folder: RunFolder, config: RunConfig) -> Evaluation:
    """Evaluate the saved file rather than the model in memory, because the file is what will be used."""
    _say(f"Evaluating {config.eval_episodes} episode{'s' if config.eval_episodes > 1 else ''} ...")
    result = evaluate(config.algorithm, folder.model, config.evaluation_task(), trusted=True)
    write_atomically(folder.evaluation, f"{to_json(result._asdict())}\n".encode())
    _say(f"The final model in {result.episodes}:\n{result.table()}")
    return result


def _report(run: Preparation, *, go_on: bool) -> None:
    """Print where the results are, and with ``go_on`` the exact commands that evaluate and continue the run."""
    folder, config = run.folder, run.config
    try:
        drawn = draw_curve(folder, f"{config.algorithm} on {config.env}", config.eval_cost_limit)
        curve = str(folder.curve) if drawn else "none: no episode ended during training"
    except MissingDependencyError as error:
        curve = f"none: {error}"
    except (OSError, ValueError) as error:
        curve = f"none: {describe(error)}"
    _say(f"  model           {folder.model if folder.model.is_file() else 'none: it could not be saved'}")
    if config.eval_freq:
        _say(f"  best model      {_about_best(folder, config)}")
    _say(f"  learning curve  {curve}")
    _say(f"  log             {folder.progress}")
    if folder.profile.is_file():
        _say(f"  profile         {folder.profile}, for https://ui.perfetto.dev")
    if not go_on:
        return
    missing = config.n_timesteps - run.model.num_timesteps
    more = missing if missing > 0 else run.n_timesteps
    trust = words_of_trust(config)
    resume = [program(), "train", "--resume", str(folder.path), "-n", str(more), *trust]
    _say(f"Evaluate: {shlex.join([program(), 'eval', str(folder.path), *trust])}")
    _say(f"Go on:    {shlex.join(resume)}")


def words_of_trust(config: RunConfig) -> list[str]:
    """What the next command needs, which does not know that this run is the user's own."""
    pickled = not issubclass(find_algorithm(config.algorithm), StoredAlgorithm)
    return ["--trust-imports"] if pickled or needs_trust(config.recipe) else []


def _about_best(folder: RunFolder, config: RunConfig) -> str:
    try:
        best = folder.read_best()
    except CommandError as error:
        return f"none: {error}"
    if best is None:
        if not read_evaluations(folder.evaluations):
            return "none: no evaluation was due"
        return f"none: no evaluation was within the cost limit of {config.eval_cost_limit:g}"
    cost = "" if best.get("mean_cost") is None else f", cost {best['mean_cost']:.2f}"
    return f"{folder.best_model} (return {best['mean_return']:.2f}{cost} at {best['num_timesteps']:,} steps)"


def program() -> str:
    """How the user's shell finds this command: by its name or, if not on the path, as it was called now."""
    called = pathlib.Path(sys.argv[0])
    found = shutil.which("spi")
    if called.name != "spi" or (found is not None and pathlib.Path(found).samefile(called)):
        return "spi"
    return str(called)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
