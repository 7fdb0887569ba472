"""The learning curve of a run as a picture."""

from typing import Any, NamedTuple

import numpy as np

from spi_plugins.cli.evaluations_file import read_evaluations
from spi_plugins.cli.progress_rows import STEPS, read_progress
from spi_plugins.cli.run_folder import RunFolder
from spi_plugins.errors import MissingDependencyError

_TRAINING, _EVALUATION, _LIMIT = "tab:blue", "tab:orange", "tab:red"


class _Panel(NamedTuple):
    """What one panel shows: a column of ``progress.csv`` and an array of ``evaluations.npz``."""

    label: str
    steps: list[float]
    values: list[float]
    spread: list[float]  # deviations of the values; NaN where the log has none
    evaluated: np.ndarray[Any, Any] | None  # [evaluations, episodes]
    limit: float | None = None

    @property
    def is_empty(self) -> bool:
        return not self.values and self.evaluated is None


def draw_curve(folder: RunFolder, title: str, cost_limit: float | None) -> bool:
    """Draw returns and, where there are costs, costs over environment steps into the run's PNG.

    Both training, of which they are of recent episodes, and evaluations are means and standard deviations.

    Returns:
        Whether there was anything to draw; there is not if no episode ended in training, and none was evaluated.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    rows = read_progress(folder.progress)
    evaluations = read_evaluations(folder.evaluations)

    def panel(label: str, column: str, array: str, limit: float | None = None) -> _Panel:
        mean, std = f"{column}_mean", f"{column}_std"
        points = [row for row in rows if mean in row and STEPS in row]
        values, spread = ([float(row.get(name, "nan")) for row in points] for name in (mean, std))
        return _Panel(
            label, [float(row[STEPS]) for row in points], values, spread, evaluations.get(array), limit
        )

    panels = [
        panel("return", "rollout/ep_rew", "results"),
        panel("cost", "rollout/ep_cost", "costs", cost_limit),
    ]
    panels = [each for each in panels if not each.is_empty]
    if not panels:
        return False
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import EngFormatter
    except ImportError as error:
        raise MissingDependencyError.named("matplotlib", "Learning curves", "plot") from error
    # Not pyplot: it keeps global state and may look for a display.
    figure = Figure(figsize=(8, 1 + 3.5 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    column = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for axes, each in zip(column, panels, strict=True):
        _draw(axes, each, evaluations.get("timesteps"))
    column[0].set_title(title)
    column[-1].set_xlabel("environment steps")
    column[-1].xaxis.set_major_formatter(EngFormatter(sep=""))
    figure.savefig(folder.curve, dpi=120)
    return True


def _draw(axes: Any, panel: _Panel, timesteps: Any) -> None:
    if panel.values:
        marker = "o" if len(panel.values) == 1 else None
        label = "recent training episodes"
        if not np.isnan(panel.spread).all():
            mean, std = np.asarray(panel.values), np.asarray(panel.spread)
            axes.fill_between(panel.steps, mean - std, mean + std, color=_TRAINING, alpha=0.15, linewidth=0)
            label += ", mean +/- std"
        axes.plot(panel.steps, panel.values, color=_TRAINING, marker=marker, label=label)
    if panel.evaluated is not None:
        mean, std = panel.evaluated.mean(1), panel.evaluated.std(1)
        axes.fill_between(timesteps, mean - std, mean + std, color=_EVALUATION, alpha=0.2, linewidth=0)
        axes.plot(timesteps, mean, color=_EVALUATION, marker=".", label="evaluation, mean +/- std")
    if panel.limit is not None:
        axes.axhline(panel.limit, color=_LIMIT, linestyle="--", label=f"limit {panel.limit:g}")
    axes.set_ylabel(f"{panel.label} of an episode")
    axes.grid(alpha=0.3)
    axes.legend(loc="best", frameon=False, fontsize="small")
