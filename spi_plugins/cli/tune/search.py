"""The loop of a search: trials until there are enough, here or by several workers, and the best settings."""

import argparse
import functools
import pathlib
import sys
import time
import warnings
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import optuna
import yaml
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState

from spi_plugins.archive import write_atomically
from spi_plugins.cli.arguments import CommandError, RunError
from spi_plugins.cli.dispatch import INTERRUPTED
from spi_plugins.cli.jobs.plan import expected_of
from spi_plugins.cli.run_folder import RunConfig, stem_of
from spi_plugins.cli.tune.command import words_of_worker
from spi_plugins.cli.tune.spaces import Space
from spi_plugins.cli.tune.trial import COST, Search, config_of, run_of
from spi_plugins.errors import SPIError
from spi_plugins.plugins.registry import describe

BEST = "best.yml"
_SETTINGS = "settings"
# Trials in a row that may fail before the search does.
_FAILURES = 3
# Seconds between signs of life of a trial, and without one until it counts as stopped.
_HEARTBEAT, _GRACE = 30, 90
# Fields of a run's settings that are not the algorithm's or the task's.
_OF_RUN = (
    *("seed", "preset", "save_freq", "eval_freq", "save_replay_buffer", "resumed_from", "version"),
    *("tensorboard_log", "track", "track_project", "hyperparameters"),
)


def search(args: argparse.Namespace, base: argparse.Namespace, space: Space, folder: pathlib.Path) -> int:
    """Train trials until there are ``args.n_trials``, and write the best settings.

    Args:
        args: of the options of ``spi tune``.
        base: of a trial, but for what is searched.
        space: what is searched.
        folder: of the runs and the database.

    Returns:
        0, or 130 after Ctrl-C.

    Raises:
        RunError: trials failed, or none has kept the limit of the cost.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    study = _open(args, base, space, folder)
    if args.on is None:
        freq = base.eval_freq or max(base.n_timesteps // args.n_evaluations, 1)
        words = [*base.words, "--eval-freq", str(freq), "-f", str(folder)]
        trial = Search(words, base.values, space, base.n_timesteps, freq)
        code = _train_trials(study, trial, args)
    else:
        code = _train_on_ray(args, folder)
    if code == INTERRUPTED:
        _say("The same command goes on.")
        return code
    if not args.worker:
        _conclude(study, folder)
    return code


def _open(
    args: argparse.Namespace, base: argparse.Namespace, space: Space, folder: pathlib.Path
) -> optuna.Study:
    """The study, new or stored.

    Raises:
        RunError: the database cannot be opened.
        CommandError: the study was made for another task.
    """
    url = args.storage or f"sqlite:///{folder / 'study.db'}"
    name = args.study_name or f"{base.algo}-{stem_of(base.env)}"
    try:
        storage = RDBStorage(
            url,
            engine_kwargs={"connect_args": {"timeout": 100}} if url.startswith("sqlite") else None,
            heartbeat_interval=_HEARTBEAT,
            grace_period=_GRACE,
            heartbeat_stale_trial_callback=_go_on_with,
        )
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            direction="maximize",
            load_if_exists=True,
            pruner=_pruner(args),
        )
        study.sampler = _sampler(args, base.seed or 0, len(study.get_trials(deepcopy=False)))
    except Exception as error:  # of the database's driver
        raise RunError(f"--storage {url} cannot be opened: {describe(error)}") from error
    own = {"n_evaluations": args.n_evaluations, "pruner": args.pruner}
    searched = {f"space of {name}": repr(each) for name, each in space.items()}
    _check_settings(study, {**expected_of(base), **own, **searched})
    return study


def _check_settings(study: optuna.Study, settings: Mapping[str, Any]) -> None:
    """Trials can be compared only if all but what is searched is the same."""
    stored = study.user_attrs.get(_SETTINGS)
    if stored is None:
        study.set_user_attr(_SETTINGS, dict(settings))
        return
    for key in {**stored, **settings}:
        if stored.get(key) != settings.get(key):
            raise CommandError(
                f"The study {study.study_name!r} was begun with {key}={stored.get(key)!r}, now it is "
                f"{settings.get(key)!r}: name another with --study-name, or another folder with -f."
            )


def _sampler(args: argparse.Namespace, seed: int, n_trials: int) -> optuna.samplers.BaseSampler:
    own = int(np.random.SeedSequence([seed, args.worker, n_trials]).generate_state(1)[0])
    if args.sampler == "random":
        return optuna.samplers.RandomSampler(seed=own)
    return optuna.samplers.TPESampler(n_startup_trials=args.n_startup_trials, seed=own)


def _pruner(args: argparse.Namespace) -> optuna.pruners.BasePruner:
    if args.pruner == "none":
        return optuna.pruners.NopPruner()
    if args.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(1, args.n_evaluations)
    return optuna.pruners.MedianPruner(args.n_startup_trials, n_warmup_steps=args.n_evaluations // 3)


def _go_on_with(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue a trial that was stopped: whoever takes it goes on with its run."""
    if trial.params:
        RetryHeartbeatStaleTrialCallback()(study, trial)


def _train_trials(study: optuna.Study, trial: Search, args: argparse.Namespace) -> int:
    """Trials until the study has enough of them, or time is up."""
    end = time.monotonic() + (args.timeout or float("inf"))
    failures, numbers = 0, []

    def objective(begun: optuna.Trial) -> float:
        numbers.append(begun.number)
        return trial(begun)

    while time.monotonic() < end:
        optuna.storages.fail_stale_trials(study)
        begun = _count(study, TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        if begun >= args.n_trials:
            break
        _say(f"\n[{begun + 1}/{args.n_trials}] {study.study_name}")
        try:
            study.optimize(objective, n_trials=1)
            failures = 0
        except KeyboardInterrupt:
            _go_on_with(study, study.get_trials(deepcopy=False)[numbers[-1]])
            return INTERRUPTED
        except SPIError as error:
            failures += 1
            sys.stderr.write(f"spi: the trial failed: {error}\n")
            if failures == _FAILURES:
                raise RunError(f"{_FAILURES} trials in a row failed, the last one: {error}") from error
    return 0


def _count(study: optuna.Study, *states: TrialState) -> int:
    return len(study.get_trials(deepcopy=False, states=states))


def _train_on_ray(args: argparse.Namespace, folder: pathlib.Path) -> int:
    """The same command by several workers, who find one another in the database."""
    from spi_plugins.cli.jobs.on_ray import Work, work_on_ray

    words = ["tune", *words_of_worker(args), "-f", str(folder)]
    work = [
        Work(f"worker {number}", functools.partial(list, [*words, "--worker", str(number)]))
        for number in range(1, args.n_jobs + 1)
    ]
    failures = []
    for result in work_on_ray(work, args):
        if result.code == INTERRUPTED:
            return INTERRUPTED
        failures += [result.error or "a worker failed"] if result.code else []
    if failures:
        raise RunError(failures[0])
    return 0


def _conclude(study: optuna.Study, folder: pathlib.Path) -> None:
    """Say what was best, and write it as a file for ``spi train -c``."""
    n_complete, n_pruned = _count(study, TrialState.COMPLETE), _count(study, TrialState.PRUNED)
    _say(f"\n{n_complete} trials finished, {n_pruned} pruned. The runs and the database are in {folder}")
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    allowed = [trial for trial in complete if trial.constraints.get(COST, 0.0) <= 0]
    if not complete:
        raise RunError("No trial has finished.")
    if not allowed:
        closest = min(complete, key=lambda trial: trial.constraints[COST])
        raise RunError(
            f"None of {n_complete} trials has kept the limit of the cost; trial {closest.number} is "
            f"{closest.constraints[COST]:.2f} above it."
        )
    best = max(allowed, key=lambda trial: cast(float, trial.value))
    text = f"return {best.value:.2f}"
    if COST in best.constraints:
        text += f", cost {-best.constraints[COST]:.2f} below its limit"
    file = folder / BEST
    settings = yaml.safe_dump(to_file(config_of(best)), sort_keys=False)
    write_atomically(file, f"# Trial {best.number} of {study.study_name}: {text}\n{settings}".encode())
    _say(f"Best: trial {best.number}, {text}; its run is {run_of(best).path}")
    _say(f"Train with its settings: spi train -c {file} --seeds 3")


def to_file(config: RunConfig) -> dict[str, Any]:
    """The entries of a file for ``spi train -c`` that repeats a run with other seeds."""
    fields = {name: value for name, value in vars(config).items() if name not in _OF_RUN}
    kept = {name: _plain(value) for name, value in fields.items() if value not in (None, {}, [], ())}
    if config.normalize == {}:
        kept["normalize"] = True
    hyperparameters = {name: _plain(value) for name, value in config.hyperparameters.items()}
    return {"algo": kept.pop("algorithm"), **kept, **hyperparameters}


def _plain(value: Any) -> Any:
    """Lists for tuples, which YAML's safe dialect does not have."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
