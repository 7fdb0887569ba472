"""A comparison as rows of text, for the terminal and for pages."""

from collections.abc import Sequence

from spi_plugins.cli.comparison.results import Cell, Results
from spi_plugins.statistics import Estimate

HEADINGS = {
    "iqm": "IQM",
    "median": "MEDIAN",
    "mean": "MEAN",
    "optimality_gap": "OPTIMALITY GAP (LOW IS GOOD)",
}

Row = tuple[str, ...]


def to_text(results: Results) -> str:
    """Tables of returns and costs, of aggregates and of probabilities of improvement, and what to know about them."""
    parts = [
        f"{summary(results)}\nBrackets are 95% bootstrap intervals over seeds.",
        _columns(*cell_rows(results)),
    ]
    names, rows = aggregate_rows(results)
    if rows:
        parts.append(_columns(("GROUP", *(HEADINGS[name] for name in names)), rows))
    if pairs := improvement_rows(results):
        parts.append(_columns(("PROBABILITY OF IMPROVEMENT", ""), pairs))
    if results.notes:
        parts.append("\n".join(f"Note: {note}" for note in results.notes))
    return "\n\n".join(parts) + "\n"


def summary(results: Results) -> str:
    """How much is compared, and by what."""
    groups = results.groups
    counts = (
        count(groups.runs, "run"),
        count(groups.labels, "group"),
        count(groups.tasks, "environment"),
    )
    return "{} in {}, {}. Score: {}.".format(*counts, results.scale_text)


def cell_rows(results: Results) -> tuple[Row, list[Row]]:
    """Header and rows of the returns and costs of each group on each environment."""
    with_costs = any(cell.mean_cost is not None for cell in results.cells.values())
    header: Row = ("ENVIRONMENT", "GROUP", "RUNS", "RETURN")
    if results.scale.normalizes:
        header += ("NORMALIZED",)
    if with_costs:
        header += ("COST", "LIMIT", "COST RATE IN TRAINING")
    rows = []
    for task in results.groups.tasks:
        for label in results.groups.labels:
            cell = results.cells.get((label, task))
            if cell is None:
                continue
            row: Row = (task, label, _runs(cell), interval(cell.mean_return))
            if results.scale.normalizes:
                scaled = (results.scale.apply(task, part) for part in cell.mean_return)
                row += (interval(Estimate(*scaled), 3) if task in results.scale.bounds else "-",)
            if with_costs:
                rate = "-" if cell.mean_cost_rate is None else interval(cell.mean_cost_rate, 4)
                row += (_optional(cell.mean_cost), _limit(results.limits.get(task), cell.mean_cost), rate)
            rows.append(row)
    return header, rows


def aggregate_rows(results: Results) -> tuple[list[str], list[Row]]:
    """Names of the aggregates, and a row for each group; no rows if they would repeat the table of returns."""
    if not results.aggregates:
        return [], []
    names = list(next(iter(results.aggregates.values())))
    digits = 3 if results.scale.normalizes else None
    if len(results.groups.labels) == len(results.groups.shared_tasks) == 1:
        return names, []
    return names, [
        (label, *(interval(values[name], digits) for name in names))
        for label, values in results.aggregates.items()
    ]


def improvement_rows(results: Results) -> list[Row]:
    """A row for each ordered pair of groups."""
    return [
        (f"{one} over {other}", interval(value, 2)) for (one, other), value in results.improvement.items()
    ]


def interval(value: Estimate, digits: int | None = None) -> str:
    """A number with its interval: ``0.82 [0.75, 0.90]``; with three or more significant digits by default."""
    if digits is None:
        largest = max(abs(float(part)) for part in value)
        digits = 0 if largest >= 1000 else 1 if largest >= 100 else 2 if largest >= 1 or largest == 0 else 4
    middle, low, high = (f"{float(part):,.{digits}f}" for part in value)
    return f"{middle} [{low}, {high}]"


def _optional(value: Estimate | None) -> str:
    return "-" if value is None else interval(value)


def count(things: Sequence[object], noun: str) -> str:
    """How many there are, in words: ``3 runs``."""
    return f"{len(things)} {noun}{'s' if len(things) > 1 else ''}"


def _runs(cell: Cell) -> str:
    unfinished = sum(not run.finished for run in cell.runs)
    return f"{len(cell.runs)} ({unfinished} unfinished)" if unfinished else f"{len(cell.runs)}"


def _limit(limit: float | None, cost: Estimate | None) -> str:
    if limit is None or cost is None:
        return "-"
    return f"{limit:g} {'kept' if float(cost.value) <= limit else 'exceeded'}"


def _columns(header: Row, rows: Sequence[Row]) -> str:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    )
