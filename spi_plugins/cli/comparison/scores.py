"""One score per run, and its place on a scale that is the same for all tasks."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from spi_plugins.cli.arguments import CommandError
from spi_plugins.cli.comparison.grouping import Groups
from spi_plugins.cli.comparison.runs import COST, COST_RATE, RETURN, Run
from spi_plugins.statistics.aggregates import Array
from spi_plugins.statistics.atari import ATARI_SCORES, atari_game

#: Where a run's score comes from: the evaluation at the end, or the last row of the log.
Source = Literal["evaluation", "training"]
SOURCES: Mapping[Source, str] = {
    "evaluation": "mean return of the evaluation at the end",
    "training": "mean return of the last training episodes",
}


class Scale(NamedTuple):
    """What 0 and 1 are for each task; without bounds, scores stay as they are."""

    text: str
    bounds: Mapping[str, tuple[float, float]]

    @property
    def normalizes(self) -> bool:
        """Whether scores of different tasks can be averaged."""
        return bool(self.bounds)

    def apply(self, task: str, scores: Array) -> Array:
        """Scores of a task on this scale."""
        low, high = self.bounds.get(task, (0.0, 1.0))
        return (scores - low) / (high - low)


def choose_source(runs: Sequence[Run], wanted: Source | None) -> Source:
    """The evaluation if every run has one, otherwise the training return: never some of each.

    Raises:
        CommandError: ``wanted`` is missing in a run.
    """
    lacking = [run for run in runs if run.evaluation is None]
    if wanted == "evaluation" and lacking:
        raise CommandError(
            f"--score evaluation: {lacking[0].path} has no evaluation.json, as the run is "
            f"{'not evaluated' if lacking[0].finished else 'unfinished'}; --score training has no need of one."
        )
    return wanted or ("training" if lacking else "evaluation")


def returns_of(runs: Sequence[Run], source: Source) -> Array:
    """The score of each run.

    Raises:
        CommandError: no episode has ended in a run.
    """
    return np.array([_return_of(run, source) for run in runs])


def _return_of(run: Run, source: Source) -> float:
    if source == "evaluation" and run.evaluation is not None:
        return float(run.evaluation["mean_return"])
    return float(run.curves[RETURN].values[-1])


def costs_of(runs: Sequence[Run], source: Source) -> Array:
    """The cost of an episode in each run; NaN where there are no costs."""
    return np.array([_cost_of(run, source) for run in runs])


def _cost_of(run: Run, source: Source) -> float:
    if source == "evaluation" and run.evaluation is not None:
        cost = run.evaluation.get("mean_cost")
        return float("nan") if cost is None else float(cost)
    return float(run.curves[COST].values[-1]) if COST in run.curves else float("nan")


def cost_rates_of(runs: Sequence[Run]) -> Array:
    """Mean cost of a step of the environment over all of training, from the running means in the log of each run.

    NaN without costs. Where an action is repeated, each repetition is a step.
    """
    rates = []
    for run in runs:
        curve = run.curves.get(COST_RATE)
        if curve is None:
            rates.append(float("nan"))
            continue
        # A row describes the steps since the row before.
        mean = float(np.average(curve.values, weights=np.diff(curve.steps, prepend=0.0)))
        rates.append(mean / math.prod(_repeats(run)))
    return np.array(rates)


def _repeats(run: Run) -> list[int]:
    return [
        int(arguments.get("repeat", 1)) for name, arguments in run.config.wrappers if name == "action_repeat"
    ]


def limits_of(groups: Groups, given: float | None = None) -> dict[str, float]:
    """The limit of an episode's cost for each task that has one: the given one, or else the largest of its runs."""
    if given is not None:
        return dict.fromkeys(groups.tasks, given)
    return {task: max(limits) for task in groups.tasks if (limits := run_limits(groups.on(task)))}


def run_limits(runs: Sequence[Run]) -> set[float]:
    """The limits of an episode's cost that runs were evaluated by, or were to be."""
    evaluated = [(run.evaluation or {}).get("cost_limit") for run in runs]
    planned = [run.config.eval_cost_limit for run in runs]
    return {float(limit) for limit in (*evaluated, *planned) if limit is not None}


def choose_scale(
    groups: Groups, returns: Mapping[tuple[str, str], Array], references: Mapping[str, tuple[float, float]]
) -> Scale:
    """How scores of different tasks become comparable.

    References win; games of Atari are human-normalized; one task stays as it is; otherwise 0 and 1 are the lowest
    and the highest of the compared runs.

    Raises:
        CommandError: references are given for some tasks only, or for none of them.
    """
    tasks = groups.shared_tasks
    unknown = [name for name in references if name not in tasks]
    if unknown:
        raise CommandError(
            f"--reference {unknown[0]}: not a compared environment; they are {', '.join(tasks) or 'none'}."
        )
    games = {task: game for task in tasks if (game := atari_game(task.partition(" (")[0]))}
    bounds: dict[str, tuple[float, float]] = {
        **{task: ATARI_SCORES[game] for task, game in games.items()},
        **references,
    }
    if bounds and len(bounds) == len(tasks):
        kind = "the human" if not references else "the references' highs"
        low = "random play" if not references else "their lows"
        return Scale(f"normalized: 0 is {low}, 1 {kind}", bounds)
    if references:
        lacking = next(task for task in tasks if task not in bounds)
        raise CommandError(f"--reference: {lacking} needs one too, as LOW,HIGH returns.")
    if len(tasks) <= 1:
        return Scale("returns", {})
    return Scale(
        "normalized: 0 is the lowest, 1 the highest return of the compared runs of an environment",
        {task: _extremes([returns[label, task] for label in groups.labels]) for task in tasks},
    )


def _extremes(scores: Sequence[Array]) -> tuple[float, float]:
    low, high = float(min(map(np.min, scores))), float(max(map(np.max, scores)))
    return (low, high) if low < high else (high - 1, high)
