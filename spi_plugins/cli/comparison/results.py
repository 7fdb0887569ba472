"""The numbers of a comparison: what its table, its pictures and its JSON show."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from spi_plugins.cli.arguments import CommandError
from spi_plugins.cli.comparison.grouping import Groups
from spi_plugins.cli.comparison.runs import RETURN, Run
from spi_plugins.cli.comparison.scores import (
    SOURCES,
    Scale,
    Source,
    choose_scale,
    choose_source,
    cost_rates_of,
    costs_of,
    limits_of,
    returns_of,
    run_limits,
)
from spi_plugins.statistics import (
    Estimate,
    estimate,
    iqm,
    mean,
    median,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
)
from spi_plugins.statistics.aggregates import Array

AGGREGATES = {"iqm": iqm, "median": median, "mean": mean, "optimality_gap": optimality_gap}
THRESHOLDS = 401


class Cell(NamedTuple):
    """A label on a task: its runs, one score each, and the means with their intervals.

    ``cost`` and ``cost_rate`` are ``None`` if the environment reports no costs.
    """

    runs: Sequence[Run]
    returns: Array
    costs: Array
    mean_return: Estimate
    mean_cost: Estimate | None
    mean_cost_rate: Estimate | None


class Results(NamedTuple):
    """A comparison.

    Attributes:
        groups: the runs.
        source: where scores come from.
        scale: what makes tasks comparable.
        cells: by label and task.
        limits: of an episode's cost, by task.
        aggregates: by label and name, over the tasks that all labels share, as are the next three; empty without
            such tasks. The optimality gap needs normalized scores, and the median several tasks.
        thresholds: of the performance profiles, on the scale.
        profiles: by label; one number for each threshold.
        improvement: for each ordered pair of labels, the probability that the first is better.
        notes: what readers must know.
    """

    groups: Groups
    source: Source
    scale: Scale
    cells: Mapping[tuple[str, str], Cell]
    limits: Mapping[str, float]
    aggregates: Mapping[str, Mapping[str, Estimate]]
    thresholds: Array
    profiles: Mapping[str, Estimate]
    improvement: Mapping[tuple[str, str], Estimate]
    notes: Sequence[str]

    @property
    def scale_text(self) -> str:
        """What a score is and how it is scaled."""
        return f"{SOURCES[self.source]}, {self.scale.text}" if self.scale.normalizes else SOURCES[self.source]

    def normalized(self, label: str) -> list[Array]:
        """The scores of a label on the shared tasks, scaled."""
        return [self.scale.apply(task, self.cells[label, task].returns) for task in self.groups.shared_tasks]


def compare(
    groups: Groups,
    *,
    source: Source | None = None,
    references: Mapping[str, tuple[float, float]] | None = None,
    cost_limit: float | None = None,
) -> Results:
    """Compute everything that is shown.

    Args:
        groups: the runs.
        source: where scores come from; chosen by what all runs have if ``None``.
        references: the returns that count as 0 and 1, by task.
        cost_limit: of an episode, for all tasks; from the runs if ``None``.

    Raises:
        CommandError: there is no score; a run lacks the score that is asked for; or references do not fit the tasks.
    """
    groups = _with_returns(groups, groups.runs)
    source = choose_source(groups.runs, source)
    if source == "training":
        groups = _with_returns(groups, [run for run in groups.runs if RETURN in run.curves])
    cells = {(label, task): _cell(runs, source) for (label, task), runs in groups.cells.items()}
    scale = choose_scale(groups, {key: cell.returns for key, cell in cells.items()}, references or {})
    notes = [*groups.notes, *_remarks(groups)]
    if cost_limit is None:
        notes += _remarks_on_limits(groups)
    limits = limits_of(groups, cost_limit)
    draft = Results(groups, source, scale, cells, limits, {}, np.empty(0), {}, {}, notes)
    return _with_statistics(draft) if groups.shared_tasks else draft


def _remarks(groups: Groups) -> list[str]:
    notes = []
    alone = [task for task in groups.tasks if task not in groups.shared_tasks]
    if alone == groups.tasks:
        notes.append("No environment has runs of every group, so nothing is aggregated over environments.")
    elif alone:
        notes.append(f"Not in the aggregates, because not every group has runs on it: {', '.join(alone)}.")
    if max(map(len, groups.cells.values())) == 1:
        notes.append("One run per group: intervals need several seeds.")
    return notes


def _remarks_on_limits(groups: Groups) -> list[str]:
    limits = {task: [f"{limit:g}" for limit in sorted(run_limits(groups.on(task)))] for task in groups.tasks}
    return [
        f"The runs on {task} have different cost limits, {', '.join(several)}; the last one is used."
        for task, several in limits.items()
        if len(several) > 1
    ]


def _with_returns(groups: Groups, candidates: Sequence[Run]) -> Groups:
    """Keep those of the candidates in which an episode has ended.

    Raises:
        CommandError: nothing remains.
    """
    kept = [run for run in candidates if RETURN in run.curves or run.evaluation is not None]
    if not kept:
        raise CommandError(f"No episode has ended in {groups.runs[0].path}, so there is nothing to compare.")
    cells = {
        key: remaining
        for key, runs in groups.cells.items()
        if (remaining := [run for run in runs if run in kept])
    }
    notes = [f"Left out: no episode has ended in {run.path}." for run in groups.runs if run not in kept]
    return Groups(
        cells,
        [label for label in groups.labels if any(label == key for key, _ in cells)],
        [task for task in groups.tasks if any(task == key for _, key in cells)],
        [*groups.notes, *notes],
    )


def _cell(runs: Sequence[Run], source: Source) -> Cell:
    returns, costs, rates = returns_of(runs, source), costs_of(runs, source), cost_rates_of(runs)

    def of(values: Array) -> Estimate | None:
        known = values[~np.isnan(values)]
        return estimate(mean, [known]) if known.size else None

    return Cell(runs, returns, costs, estimate(mean, [returns]), of(costs), of(rates))


def _with_statistics(results: Results) -> Results:
    labels, tasks = results.groups.labels, results.groups.shared_tasks
    scores = {label: results.normalized(label) for label in labels}
    names = [
        name
        for name in AGGREGATES
        if not (name == "median" and len(tasks) == 1)
        and not (name == "optimality_gap" and not results.scale.normalizes)
    ]
    pooled = np.concatenate([np.concatenate(sample) for sample in scores.values()])
    thresholds = np.linspace(*_profile_range(pooled, normalized=results.scale.normalizes), THRESHOLDS)
    return results._replace(
        aggregates={
            label: {name: estimate(AGGREGATES[name], sample) for name in names}
            for label, sample in scores.items()
        },
        thresholds=thresholds,
        profiles={
            label: estimate(lambda drawn: performance_profile(drawn, thresholds), sample)
            for label, sample in scores.items()
        },
        improvement={
            (one, other): estimate(probability_of_improvement, scores[one], scores[other])
            for one in labels
            for other in labels
            if one != other
        },
    )


def _profile_range(scores: Array, *, normalized: bool) -> tuple[float, float]:
    """All scores with a margin; a few games of Atari reach hundreds of times the human's, so they are cut off."""
    low, high = float(scores.min()), float(scores.max())
    if normalized:
        low, high = min(low, 0.0), min(high, 8.0)
    margin = 0.05 * (high - low) or 1.0
    return low - margin * (not normalized), high + margin


def to_plain(results: Results) -> dict[str, Any]:
    """The comparison as JSON."""

    def plain(value: Estimate | None) -> dict[str, Any] | None:
        if value is None:
            return None
        return dict(zip(value._fields, (np.asarray(part).tolist() for part in value), strict=True))

    return {
        "score": SOURCES[results.source],
        "scale": results.scale.text,
        "bounds": {task: list(bounds) for task, bounds in results.scale.bounds.items()},
        "groups": [
            {
                "label": label,
                "environment": task,
                "runs": [str(run.path) for run in cell.runs],
                "seeds": [run.config.seed for run in cell.runs],
                "finished": [run.finished for run in cell.runs],
                "returns": cell.returns.tolist(),
                "costs": None if cell.mean_cost is None else cell.costs.tolist(),
                "mean_return": plain(cell.mean_return),
                "mean_cost": plain(cell.mean_cost),
                "mean_cost_rate": plain(cell.mean_cost_rate),
                "cost_limit": results.limits.get(task),
            }
            for (label, task), cell in results.cells.items()
        ],
        "aggregates": {
            label: {name: plain(value) for name, value in rows.items()}
            for label, rows in results.aggregates.items()
        },
        "performance_profiles": {
            "thresholds": results.thresholds.tolist(),
            "fractions": {label: plain(value) for label, value in results.profiles.items()},
        },
        "probability_of_improvement": [
            {"label": one, "over": other, **(plain(value) or {})}
            for (one, other), value in results.improvement.items()
        ],
        "notes": list(results.notes),
    }
