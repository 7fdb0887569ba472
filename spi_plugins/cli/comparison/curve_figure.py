"""The picture of learning curves: mean and bootstrap interval over runs, with costs and their limits below."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from spi_plugins.cli.comparison.grouping import Groups
from spi_plugins.cli.comparison.runs import COST, RETURN, Run
from spi_plugins.cli.comparison.theme import WIDTH, Picture, Style, Theme, add_legend, draw_limit, styles
from spi_plugins.statistics import band

AXIS_NAMES = {RETURN: "return of recent episodes", COST: "cost of recent episodes"}


def learning_curves(groups: Groups, keys: Sequence[str], limits: Mapping[str, float]) -> Picture | None:
    """A column of panels for each environment, in rows of up to three; a row for each key that any run has.

    ``None`` if no run has any: no episode has ended.
    """
    shown = [key for key in keys if any(key in run.curves for run in groups.runs)]
    if not shown:
        return None
    columns = min(len(groups.tasks), 3)
    rows = math.ceil(len(groups.tasks) / columns) * len(shown)
    return Picture(
        "Learning curves",
        "Mean over runs; shades are 95% bootstrap intervals of the mean, faint lines the single runs. "
        "A cross marks where an unfinished run is.",
        max(WIDTH * columns / 3, 6.5),
        2.9 * rows + 0.6,
        functools.partial(_draw_curves, groups, shown, limits, columns),
    )


def _draw_curves(
    groups: Groups, keys: Sequence[str], limits: Mapping[str, float], columns: int, figure: Any, theme: Theme
) -> None:
    blocks = math.ceil(len(groups.tasks) / columns)
    grid = figure.subplots(blocks * len(keys), columns, squeeze=False)
    look = styles(groups.labels, theme)
    for axes in grid.flat:
        axes.set_axis_off()  # until something is drawn in it
    for index, task in enumerate(groups.tasks):
        block, column = divmod(index, columns)
        shown = [key for key in keys if any(key in run.curves for run in groups.on(task))]
        for key in shown:
            axes = grid[block * len(keys) + keys.index(key), column]
            axes.set_axis_on()
            for label in groups.labels:
                _draw_group(
                    axes, [run for run in groups.at(label, task) if key in run.curves], key, look[label]
                )
            if key == COST and task in limits:
                draw_limit(axes, limits[task], theme)
            axes.set_title(task if key == shown[0] else "")
            axes.set_ylabel(AXIS_NAMES.get(key, key) if column == 0 or len(keys) > 1 else "")
            axes.set_xlabel("environment steps" if key == shown[-1] else "")
            axes.set_xlim(left=0)
            axes.xaxis.set_major_formatter(_engineering())
            if max(map(abs, axes.get_ylim())) >= 10_000:
                axes.yaxis.set_major_formatter(_engineering())
    add_legend(figure, look)


def _draw_group(axes: Any, runs: Sequence[Run], key: str, style: Style) -> None:
    if not runs:
        return
    curves = [run.curves[key] for run in runs]
    for run, curve in zip(runs, curves, strict=True):
        if len(runs) > 1:
            thin = band([curve], n_resamples=1)  # a long log has more rows than the picture has columns
            axes.plot(thin.steps, thin.mean, color=style.color, alpha=0.3, linewidth=0.7)
        if not run.finished:
            axes.plot(curve.steps[-1], curve.values[-1], marker="x", color=style.color, markeredgewidth=2)
    middle = band(curves)
    if len(runs) > 1:
        axes.fill_between(middle.steps, middle.low, middle.high, color=style.color, alpha=0.2, linewidth=0)
    marker = "o" if middle.steps[0] == middle.steps[-1] else None
    axes.plot(
        middle.steps, middle.mean, color=style.color, linestyle=style.line, linewidth=1.9, marker=marker
    )


def band_rows(groups: Groups, keys: Sequence[str]) -> list[dict[str, Any]]:
    """The curves as JSON: steps, mean and interval for each group, environment and key."""
    rows = []
    for (label, task), runs in groups.cells.items():
        for key in keys:
            curves = [run.curves[key] for run in runs if key in run.curves]
            if curves:
                values = {name: each.tolist() for name, each in band(curves)._asdict().items()}
                rows.append({"label": label, "environment": task, "key": key, "runs": len(curves), **values})
    return rows


def _engineering() -> Any:
    from matplotlib.ticker import EngFormatter

    return EngFormatter(sep="")
