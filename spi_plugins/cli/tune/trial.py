"""One trial of a search: a run of ``spi train``, judged at each of its evaluations."""

import argparse
import json
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import optuna

from spi_plugins.cli.arguments import CommandError
from spi_plugins.cli.config_file import to_pairs
from spi_plugins.cli.dispatch import INTERRUPTED
from spi_plugins.cli.evaluations_file import read_evaluations
from spi_plugins.cli.preparation import prepare
from spi_plugins.cli.run_folder import RunConfig, RunFolder, locate_model
from spi_plugins.cli.seeds import steps_taken
from spi_plugins.cli.train import read
from spi_plugins.cli.training import train_prepared
from spi_plugins.cli.tune.spaces import Space, draw, merge

#: The constraint's name in Optuna; its value is how much the mean cost of an episode is above the limit.
COST = "cost"
_RUN = "run"
# Instead of a return; finite, because pruners average.
_EXCEEDED = -1e30


class Search(NamedTuple):
    """What all trials share.

    Attributes:
        words: of ``spi train`` for every trial.
        arguments: the algorithm's, as far as they are not searched.
        space: where the others come from.
        n_timesteps: of a trial.
        eval_freq: steps between its evaluations.
    """

    words: Sequence[str]
    arguments: Mapping[str, Any]
    space: Space
    n_timesteps: int
    eval_freq: int

    def __call__(self, trial: optuna.Trial) -> float:
        """Train a trial, or go on with one that was stopped; return the mean return of the evaluation at the end.

        Raises:
            TrialPruned: an evaluation during training was not good enough.
            KeyboardInterrupt: Ctrl-C was pressed; the trial can be continued.
            SPIError: the run failed.
        """
        jax.clear_caches()  # type: ignore[no-untyped-call]  # the trial before may have had other shapes
        values = merge(self.arguments, draw(trial, self.space))
        args = read(_words_to_go_on(trial) or [*self.words, "-p", *to_pairs(values)])
        judge = _Judge(trial, self)
        if not _is_done(args):
            run = prepare(args)
            trial.set_user_attr(_RUN, str(run.folder.path))
            judge.repeat(run.folder, run.config.eval_cost_limit)
            code = train_prepared(run._replace(judge=judge), args)
            if judge.has_pruned:
                _remove_what_resumes(run.folder)
                raise optuna.TrialPruned
            if code == INTERRUPTED:
                raise KeyboardInterrupt
        folder = run_of(trial)
        _remove_what_resumes(folder)
        result = json.loads(folder.evaluation.read_text("utf-8"))
        judge.constrain(result["mean_cost"], result["cost_limit"])
        return float(result["mean_return"])


class _Judge:
    """Tells Optuna of each evaluation during training; called with one, it says whether to go on.

    What is compared with other trials is the mean return or, if the mean cost is above the limit, a number below any
    return: by the median, trials above the limit are stopped as soon as half of the others keep it at the same step.
    """

    def __init__(self, trial: optuna.Trial, search: Search) -> None:
        self.trial, self.search, self.has_pruned = trial, search, False

    def __call__(self, mean_return: float, mean_cost: float | None, limit: float | None, steps: int) -> bool:
        if steps >= self.search.n_timesteps:  # nothing is left to save
            return True
        self._report(mean_return, mean_cost, limit, steps)
        self.has_pruned = self.trial.should_prune()
        if self.has_pruned:
            self.constrain(mean_cost, limit)
        return not self.has_pruned

    def repeat(self, folder: RunFolder, limit: float | None) -> None:
        """Tell what a run that goes on has found before."""
        stored = read_evaluations(folder.evaluations)
        for at, steps in enumerate(stored.get("timesteps", ())):
            cost = float(stored["costs"][at].mean()) if "costs" in stored else None
            self._report(float(stored["results"][at].mean()), cost, limit, int(steps))

    def constrain(self, mean_cost: float | None, limit: float | None) -> None:
        """Say how far above the limit the trial is, where there is one."""
        if mean_cost is not None and limit is not None:
            self.trial.set_constraint(COST, mean_cost - limit)

    def _report(self, mean_return: float, mean_cost: float | None, limit: float | None, steps: int) -> None:
        exceeds = mean_cost is not None and limit is not None and mean_cost > limit
        self.trial.report(_EXCEEDED if exceeds else mean_return, steps // self.search.eval_freq)


def run_of(trial: optuna.Trial | optuna.trial.FrozenTrial) -> RunFolder:
    """The folder of a trial's run."""
    return RunFolder(pathlib.Path(trial.user_attrs[_RUN]))


def config_of(trial: optuna.trial.FrozenTrial) -> RunConfig:
    """The settings of a trial's run."""
    return run_of(trial).read_config()


def _words_to_go_on(trial: optuna.Trial) -> list[str] | None:
    """The words that continue the run of a trial that was stopped, if it has one that can be continued."""
    path = trial.user_attrs.get(_RUN)
    try:
        locate_model(pathlib.Path(path or ""))
    except CommandError:
        return None
    return ["train", "--resume", str(path), "--trust-imports"]


def _is_done(args: argparse.Namespace) -> bool:
    """Whether nothing but the result of a run is missing."""
    if args.resume is None:
        return False
    folder = RunFolder(args.resume)
    config = folder.read_config()
    return steps_taken(folder) >= config.n_timesteps and not folder.awaits_evaluation(config)


def _remove_what_resumes(folder: RunFolder) -> None:
    """Of a trial that has ended, only the models stay: a search would fill the disk with replay buffers."""
    shutil.rmtree(folder.checkpoints, ignore_errors=True)
    folder.replay.unlink(missing_ok=True)
