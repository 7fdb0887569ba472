"""The learning curve of a run as a picture."""

import pathlib

from spi_plugins.cli.progress_rows import STEPS, read_progress
from spi_plugins.errors import MissingDependencyError

RETURN = "rollout/ep_rew_mean"


def draw_curve(progress: pathlib.Path, picture: pathlib.Path, title: str) -> bool:
    """Draw the mean return of recent training episodes over environment steps, from a ``progress.csv`` to a PNG.

    Returns:
        Whether there was anything to draw; there is not if no episode ended in training.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    rows = [row for row in read_progress(progress) if RETURN in row and STEPS in row]
    if not rows:
        return False
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError.named("matplotlib", "Learning curves", "plot") from error
    # Not pyplot: it keeps global state and may look for a display.
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    marker = "o" if len(rows) == 1 else None
    axes.plot([float(row[STEPS]) for row in rows], [float(row[RETURN]) for row in rows], marker=marker)
    axes.set(title=title, xlabel="environment steps", ylabel="mean return of recent episodes")
    axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=120)
    return True
