"""How pictures look: colors that color-blind readers can tell apart, for light and for dark pages."""

import importlib.util
import io
import pathlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from spi_plugins.archive import write_atomically
from spi_plugins.errors import MissingDependencyError


class Theme(NamedTuple):
    """Colors of one background; ``colors`` and ``markers`` go together, one pair for each label in turn."""

    background: str
    text: str
    grid: str
    warning: str  # of cost limits
    colors: Sequence[str]


#: Inches of the widest picture.
WIDTH = 10.0
MARKERS = "os^DvPX*"
LINES = ("-", "--", "-.", ":")

# Okabe and Ito's palette without black and yellow, and the same hues lighter.
LIGHT = Theme(
    "#ffffff",
    "#24292f",
    "#d0d7de",
    "#a40e26",
    ("#0072b2", "#d55e00", "#009e73", "#b15a92", "#b8860b", "#3a9bd6"),
)
DARK = Theme(
    "#16191d",
    "#dfe3e8",
    "#3a4149",
    "#ff8080",
    ("#58b0ea", "#ff9248", "#35cfa0", "#e59fca", "#f0c75a", "#a5dcff"),
)


class Style(NamedTuple):
    """How one label is drawn everywhere."""

    color: str
    marker: Any
    line: Any


def styles(labels: Sequence[str], theme: Theme) -> dict[str, Style]:
    """A style for each label, distinct by marker and line where colors repeat."""
    return {
        label: Style(
            theme.colors[index % len(theme.colors)],
            MARKERS[index % len(MARKERS)],
            LINES[index % len(LINES)],
        )
        for index, label in enumerate(labels)
    }


class Picture(NamedTuple):
    """A part of a page: what it is called, its size in inches, and what draws it into a figure."""

    title: str
    caption: str
    width: float
    height: float
    draw: Callable[[Any, Theme], None]


def require_matplotlib() -> None:
    """Refuse to draw before anything is computed.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingDependencyError.named("matplotlib", "Pictures", "plot")


def save(pictures: Sequence[Picture], path: pathlib.Path) -> None:
    """Draw pictures below one another into a file whose suffix says the format."""
    with _styled(LIGHT):
        height = sum(picture.height for picture in pictures)
        figure = _figure(max(picture.width for picture in pictures), height)
        parts = figure.subfigures(len(pictures), 1, height_ratios=[picture.height for picture in pictures])
        for picture, part in zip(pictures, [parts] if len(pictures) == 1 else parts, strict=True):
            if len(pictures) > 1:
                part.suptitle(picture.title, fontweight="bold")
            picture.draw(part, LIGHT)
        buffer = io.BytesIO()
        figure.savefig(buffer, format=path.suffix[1:].lower(), dpi=130)
    write_atomically(path, buffer.getvalue())


def to_svg(picture: Picture, theme: Theme) -> bytes:
    """One picture as SVG, with its letters as outlines, so that it looks the same everywhere."""
    with _styled(theme):
        figure = _figure(picture.width, picture.height)
        picture.draw(figure, theme)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def add_legend(figure: Any, look: dict[str, Style], *, markers: bool = False, patches: bool = False) -> None:
    """One legend for the whole picture, below it; none for a single label."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    if len(look) < 2:
        return
    handles: list[Any] = [
        Patch(color=style.color, label=label)
        if patches
        else Line2D([], [], color=style.color, label=label, linewidth=1.9,
                    linestyle="none" if markers else style.line, marker=style.marker if markers else None)
        for label, style in look.items()
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 4))


def draw_limit(axes: Any, limit: float, theme: Theme, *, vertical: bool = False) -> None:
    """A labeled line at the limit of a cost."""
    line = axes.axvline if vertical else axes.axhline
    line(limit, color=theme.warning, linestyle=(0, (5, 3)), linewidth=1.3)
    place: Any = {
        "xy": (limit, 1) if vertical else (1, limit),
        "xycoords": ("data", "axes fraction") if vertical else ("axes fraction", "data"),
        "xytext": (4, -4) if vertical else (-3, 4),
        "ha": "left" if vertical else "right",
        "va": "top" if vertical else "bottom",
    }
    box = {"facecolor": theme.background, "edgecolor": "none", "alpha": 0.75, "pad": 1}
    axes.annotate(
        f"limit {limit:g}", bbox=box, textcoords="offset points", color=theme.warning, fontsize=9, **place
    )


def _figure(width: float, height: float) -> Any:
    # Not pyplot: it keeps global state and may look for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


@contextmanager
def _styled(theme: Theme) -> Iterator[None]:
    import matplotlib as mpl

    settings: Any = {
        "figure.facecolor": theme.background,
        "axes.facecolor": theme.background,
        "savefig.facecolor": theme.background,
        "text.color": theme.text,
        "axes.labelcolor": theme.text,
        "axes.titlecolor": theme.text,
        "axes.edgecolor": theme.grid,
        "xtick.color": theme.text,
        "ytick.color": theme.text,
        "grid.color": theme.grid,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 11,
        "legend.frameon": False,
        "svg.hashsalt": "spi-plugins",
        "font.size": 10,
    }
    with mpl.rc_context(settings):
        yield
