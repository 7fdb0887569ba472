"""The pictures of what the scores of runs say."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from spi_plugins.cli.comparison.results import Results
from spi_plugins.cli.comparison.scores import SOURCES
from spi_plugins.cli.comparison.theme import WIDTH, Picture, Style, Theme, add_legend, draw_limit, styles
from spi_plugins.statistics.atari import atari_game

AGGREGATE_NAMES = {
    "iqm": "IQM",
    "median": "median",
    "mean": "mean",
    "optimality_gap": "optimality gap (low is good)",
}
INTERVALS = "Bars and shades are 95% bootstrap intervals over seeds."


def score_pictures(results: Results) -> dict[str, Picture]:
    """All pictures of scores for which there is something to show, by the names of ``PICTURES``."""
    groups = results.groups
    several = len(groups.labels) > 1
    shared, games = groups.shared_tasks, atari_bars(results)
    candidates = {
        "aggregates": aggregates(results) if shared and (several or len(shared) > 1) else None,
        "profiles": profiles(results) if shared else None,
        "improvement": improvement(results) if shared and several else None,
        "returns": returns(results) if games is None and len(groups.tasks) > 1 else None,
        "cost-return": cost_return(results),
        "games": games,
    }
    return {name: picture for name, picture in candidates.items() if picture is not None}


def returns(results: Results) -> Picture:
    """A panel for each environment, a line for each label."""
    tasks = results.groups.tasks
    columns = min(len(tasks), 3)
    rows = math.ceil(len(tasks) / columns)
    return Picture(
        "Returns",
        f"{SOURCES[results.source].capitalize()}; small marks are runs. {INTERVALS}",
        max(WIDTH * columns / 3, 6.5),
        rows * (1.0 + 0.36 * len(results.groups.labels)),
        functools.partial(_draw_returns, results, rows, columns),
    )


def _draw_returns(results: Results, rows: int, columns: int, figure: Any, theme: Theme) -> None:
    labels = results.groups.labels
    look = styles(labels, theme)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for axes, task in zip(grid, results.groups.tasks, strict=False):
        for height, label in enumerate(reversed(labels)):
            cell = results.cells.get((label, task))
            if cell is not None:
                _draw_interval(axes, cell.mean_return, height, look[label])
                axes.plot(
                    cell.returns, np.full(cell.returns.size, height), ".", color=theme.text, markersize=4
                )
        axes.set_title(task)
        _label_rows(axes, labels)
        axes.set_xlabel("return")
    for axes in grid[len(results.groups.tasks) :]:
        axes.set_axis_off()


def _label_rows(axes: Any, names: Sequence[str]) -> None:
    """Names at the left, the first at the top; space at both ends."""
    axes.set_yticks(range(len(names)), list(reversed(names)))
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=4)
    axes.use_sticky_edges = False  # bars would touch the frame
    axes.margins(x=0.08)


def aggregates(results: Results) -> Picture:
    """A panel for each metric, a line for each label."""
    labels = results.groups.labels
    return Picture(
        "Aggregates",
        f"Over {_tasks(results)}; {results.scale_text}. {INTERVALS}",
        WIDTH,
        0.9 + 0.42 * len(labels),
        functools.partial(_draw_aggregates, results),
    )


def _draw_aggregates(results: Results, figure: Any, theme: Theme) -> None:
    labels = results.groups.labels
    names = list(results.aggregates[labels[0]])
    look = styles(labels, theme)
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        for height, label in enumerate(reversed(labels)):
            _draw_interval(axes, results.aggregates[label][name], height, look[label])
        axes.set_title(AGGREGATE_NAMES[name])
        _label_rows(axes, labels)
        axes.set_xlabel("normalized score" if results.scale.normalizes else "return")


def _draw_interval(axes: Any, value: Any, height: float, style: Style) -> None:
    axes.barh(
        height,
        float(value.high - value.low),
        left=float(value.low),
        height=0.5,
        color=style.color,
        alpha=0.45,
    )
    axes.plot(float(value.value), height, marker=style.marker, color=style.color, markersize=7)


def profiles(results: Results) -> Picture:
    """The fraction of runs above each score."""
    return Picture(
        "Performance profiles",
        f"The fraction of runs, over {_tasks(results)}, that score above a threshold: higher curves are better. "
        f"{INTERVALS}",
        WIDTH * 0.75,
        3.6,
        functools.partial(_draw_profiles, results),
    )


def _draw_profiles(results: Results, figure: Any, theme: Theme) -> None:
    axes = figure.subplots()
    look = styles(results.groups.labels, theme)
    for label, profile in results.profiles.items():
        style = look[label]
        axes.fill_between(
            results.thresholds, profile.low, profile.high, color=style.color, alpha=0.2, linewidth=0
        )
        axes.plot(results.thresholds, profile.value, color=style.color, linestyle=style.line, linewidth=1.9)
    unit = "normalized score" if results.scale.normalizes else "return"
    axes.set(xlabel=f"{unit} τ", ylabel="fraction of runs above τ", ylim=(-0.02, 1.02))
    axes.margins(x=0)
    add_legend(figure, look)


def improvement(results: Results) -> Picture:
    """A line for each pair of labels."""
    pairs = _pairs(results)
    return Picture(
        "Probability of improvement",
        f"How likely a run of the first is better than a run of the second, over {_tasks(results)}; "
        f"0.5 is no difference. {INTERVALS}",
        WIDTH * 0.75,
        0.9 + 0.42 * len(pairs),
        functools.partial(_draw_improvement, results),
    )


def _pairs(results: Results) -> list[tuple[str, str]]:
    """Each pair once, the one that is more likely better first."""
    labels = results.groups.labels
    once = [(one, other) for at, one in enumerate(labels) for other in labels[at + 1 :]]
    return [pair if float(results.improvement[pair].value) >= 0.5 else pair[::-1] for pair in once]


def _draw_improvement(results: Results, figure: Any, theme: Theme) -> None:
    axes = figure.subplots()
    look = styles(results.groups.labels, theme)
    pairs = _pairs(results)
    for height, pair in enumerate(reversed(pairs)):
        _draw_interval(axes, results.improvement[pair], height, look[pair[0]])
    axes.axvline(0.5, color=theme.text, linestyle=(0, (5, 3)), linewidth=1)
    _label_rows(axes, [f"{one} over {other}" for one, other in pairs])
    axes.set(xlim=(-0.02, 1.02), xlabel="probability of improvement")


def cost_return(results: Results) -> Picture | None:
    """A plane for each environment with costs, and its limit; ``None`` if there are no costs."""
    tasks = [
        task
        for task in results.groups.tasks
        if any(cell.mean_cost is not None for (_, place), cell in results.cells.items() if place == task)
    ]
    if not tasks:
        return None
    columns = min(len(tasks), 3)
    return Picture(
        "Cost and return",
        "Small marks are runs, large ones the means with 95% bootstrap intervals. Costs in the shaded area keep the "
        "limit; the best place is at the top of it.",
        max(WIDTH * columns / 3, 6.5),
        3.4 * math.ceil(len(tasks) / columns) + 0.4,
        functools.partial(_draw_planes, results, tasks, columns),
    )


def _draw_planes(results: Results, tasks: Sequence[str], columns: int, figure: Any, theme: Theme) -> None:
    grid = figure.subplots(math.ceil(len(tasks) / columns), columns, squeeze=False).ravel()
    look = styles(results.groups.labels, theme)
    for axes, task in zip(grid, tasks, strict=False):
        for label, style in look.items():
            cell = results.cells.get((label, task))
            if cell is None or cell.mean_cost is None:
                continue
            cost, score = cell.mean_cost, cell.mean_return
            axes.scatter(cell.costs, cell.returns, color=style.color, marker=style.marker, s=16, alpha=0.5)
            axes.errorbar(
                float(cost.value),
                float(score.value),
                xerr=[[float(cost.value - cost.low)], [float(cost.high - cost.value)]],
                yerr=[[float(score.value - score.low)], [float(score.high - score.value)]],
                color=style.color,
                marker=style.marker,
                markersize=9,
                capsize=3,
            )
        axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
        if task in results.limits:
            limit = results.limits[task]
            axes.set_xlim(right=max(axes.get_xlim()[1], 1.15 * limit))
            axes.axvspan(axes.get_xlim()[0], limit, color=theme.colors[2], alpha=0.12, linewidth=0)
            draw_limit(axes, limit, theme, vertical=True)
        axes.set(title=task, xlabel="cost of an episode", ylabel="return of an episode")
    for axes in grid[len(tasks) :]:
        axes.set_axis_off()
    add_legend(figure, look, markers=True)


def atari_bars(results: Results) -> Picture | None:
    """Human-normalized scores, a group of bars for each game; ``None`` unless all environments are games."""
    tasks = results.groups.shared_tasks
    if not tasks or any(atari_game(task.partition(" (")[0]) is None for task in tasks):
        return None
    return Picture(
        "Atari games",
        "Human-normalized mean scores in percent, on a scale that is linear up to 10 and logarithmic above: 0 is "
        f"random play, 100 the human. {INTERVALS}",
        WIDTH * 0.85,
        1.2 + len(tasks) * (0.14 + 0.16 * len(results.groups.labels)),
        functools.partial(_draw_games, results),
    )


def _draw_games(results: Results, figure: Any, theme: Theme) -> None:
    axes = figure.subplots()
    labels = results.groups.labels
    look = styles(labels, theme)
    first = labels[0]

    def percent(label: str, task: str) -> tuple[float, float, float]:
        estimate = results.cells[label, task].mean_return
        middle, low, high = (float(100 * results.scale.apply(task, part)) for part in estimate)
        return middle, low, high

    tasks = sorted(results.groups.shared_tasks, key=lambda task: percent(first, task)[0])
    height = 0.8 / len(labels)
    for index, label in enumerate(labels):
        middles, lows, highs = np.array([percent(label, task) for task in tasks]).T
        places = np.arange(len(tasks)) + 0.4 - height * (index + 0.5)
        axes.barh(
            places,
            middles,
            height,
            color=look[label].color,
            xerr=[middles - lows, highs - middles],
            error_kw={"ecolor": theme.text, "elinewidth": 1, "capsize": 2},
            label=label,
        )
    axes.set_xscale("symlog", linthresh=10)
    axes.axvline(0, color=theme.text, linewidth=0.8)
    axes.axvline(100, color=theme.text, linestyle=(0, (5, 3)), linewidth=1)
    axes.annotate("human", (100, 1), xycoords=("data", "axes fraction"), xytext=(3, 2),
                  textcoords="offset points", fontsize=9)  # fmt: skip
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_yticks(range(len(tasks)), [atari_game(task.partition(" (")[0]) or task for task in tasks])
    axes.set(xlabel="human-normalized score, %", ylim=(-0.6, len(tasks) - 0.4))
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    add_legend(figure, look, patches=True)


def _tasks(results: Results) -> str:
    tasks = results.groups.shared_tasks
    return tasks[0] if len(tasks) == 1 else f"{len(tasks)} environments"
