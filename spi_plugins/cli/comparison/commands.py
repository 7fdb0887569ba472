"""``spi plot``, ``spi compare`` and ``spi report``: runs as curves, as a table, as a page."""

import argparse
import pathlib
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from spi_plugins.archive import write_atomically
from spi_plugins.cli.arguments import CommandError, to_json
from spi_plugins.cli.comparison.grouping import Groups, load_groups
from spi_plugins.cli.comparison.runs import COST, RETURN, column_names
from spi_plugins.cli.requests import check_target
from spi_plugins.plugins import did_you_mean

if TYPE_CHECKING:
    from spi_plugins.cli.comparison.results import Results
    from spi_plugins.cli.comparison.theme import Picture

Command = Callable[[argparse.Namespace], int]
FORMATS = (".png", ".svg", ".pdf")
# The pictures of ``spi compare``, see ``score_pictures``.
PICTURES = ("aggregates", "profiles", "improvement", "returns", "cost-return", "games")


def configure_plot(parser: argparse.ArgumentParser) -> Command:
    """Add the arguments of ``spi plot``."""
    _add_runs(parser)
    _add_output(
        parser, "learning_curves.png", "the picture: .png, .svg or .pdf (default: learning_curves.png)"
    )
    parser.add_argument(
        "-y",
        nargs="+",
        metavar="KEY",
        help=f"columns of progress.csv (default: {RETURN}, and {COST} where there are costs)",
    )
    _add_limit(parser)
    parser.add_argument("--json", action="store_true", help="print the curves as JSON instead")
    return run_plot


def configure_compare(parser: argparse.ArgumentParser) -> Command:
    """Add the arguments of ``spi compare``."""
    _add_runs(parser)
    _add_output(parser, None, "picture of the comparison: .png, .svg or .pdf (default: comparison.png)")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=PICTURES,
        metavar="PICTURE",
        help=f"draw only some of {', '.join(PICTURES)} (default: all that the runs allow)",
    )
    _add_scores(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, and draw only with -o")
    return run_compare


def configure_report(parser: argparse.ArgumentParser) -> Command:
    """Add the arguments of ``spi report``."""
    _add_runs(parser)
    _add_output(parser, "report.html", "the page (default: report.html)")
    parser.add_argument("--title", help="(default: the names of the groups)")
    _add_scores(parser)
    parser.add_argument("--json", action="store_true", help="also print the numbers as JSON")
    return run_report


def run_plot(args: argparse.Namespace) -> int:
    """Draw learning curves over seeds.

    Raises:
        SPIError: there are no runs, a column is missing, or matplotlib is.
    """
    from spi_plugins.cli.comparison import theme
    from spi_plugins.cli.comparison.curve_figure import band_rows, learning_curves
    from spi_plugins.cli.comparison.scores import limits_of
    from spi_plugins.cli.comparison.table import count

    if not args.json:
        theme.require_matplotlib()
        _check_picture(args.output)
    keys = args.y or (RETURN, COST)
    groups = load_groups(args.runs, keys)
    _check_keys(groups, args.y)
    if args.json:
        sys.stdout.write(to_json(band_rows(groups, keys)) + "\n")
        return 0
    curves = learning_curves(groups, keys, limits_of(groups, args.cost_limit))
    assert curves is not None  # _check_keys has found a column
    theme.save([curves], args.output)
    _write_notes(groups.notes)
    sys.stdout.write(f"Learning curves of {count(groups.runs, 'run')}: {args.output}\n")
    return 0


def run_compare(args: argparse.Namespace) -> int:
    """Print the comparison, and draw it.

    Raises:
        SPIError: there are no runs, they share no environment, or an option does not fit them.
    """
    from spi_plugins.cli.comparison import theme
    from spi_plugins.cli.comparison.results import to_plain
    from spi_plugins.cli.comparison.table import to_text

    draws = args.output is not None or not args.json
    output = args.output or pathlib.Path("comparison.png")
    if draws:
        theme.require_matplotlib()
        _check_picture(output)
    results = _compare(args)
    pictures = _chosen(results, args.only) if draws else []
    if args.json:
        sys.stdout.write(to_json(to_plain(results)) + "\n")
    else:
        sys.stdout.write(to_text(results))
    if draws:
        theme.save(pictures, output)
    if not args.json:
        sys.stdout.write(f"\nPicture: {output}\n")
    return 0


def _chosen(results: "Results", names: Sequence[str] | None) -> list["Picture"]:
    from spi_plugins.cli.comparison.score_figures import score_pictures

    found = score_pictures(results)
    for name in names or ():
        if name not in found:
            raise CommandError(f"--only {name}: these runs have {', '.join(found)}.")
    return [found[name] for name in names or found]


def run_report(args: argparse.Namespace) -> int:
    """Write the page.

    Raises:
        SPIError: as ``run_compare``.
    """
    from spi_plugins.cli.comparison import theme
    from spi_plugins.cli.comparison.results import to_plain
    from spi_plugins.cli.comparison.table import count

    theme.require_matplotlib()
    if args.output.suffix.lower() not in (".html", ".htm"):
        raise CommandError(f"-o {args.output}: the page's name must end in .html.")
    check_target("-o", args.output)
    results = _compare(args)
    write_report(results, args.output, title=args.title, words=args.words)
    if args.json:
        sys.stdout.write(to_json(to_plain(results)) + "\n")
    else:
        _write_notes(results.notes)
        sys.stdout.write(f"Report on {count(results.groups.runs, 'run')}: {args.output}\n")
    return 0


def write_report(results: "Results", path: pathlib.Path, *, title: str | None, words: Sequence[str]) -> None:
    """Write the page of a comparison: curves, scores, settings, and the command of ``words`` that made it."""
    from spi_plugins.cli.comparison.curve_figure import learning_curves
    from spi_plugins.cli.comparison.page import to_html
    from spi_plugins.cli.comparison.score_figures import score_pictures

    curves = learning_curves(results.groups, (RETURN, COST), results.limits)
    pictures = [*([] if curves is None else [curves]), *score_pictures(results).values()]
    page = to_html(
        results, pictures, title=title or _title(results.groups), command=shlex.join(["spi", *words])
    )
    write_atomically(path, page.encode())


def _title(groups: Groups) -> str:
    tasks = groups.tasks
    places = " and ".join(tasks) if len(tasks) < 3 else f"{len(tasks)} environments"
    *most, last = groups.labels
    return f"{', '.join(most)} and {last} on {places}" if most else f"{last} on {places}"


def _compare(args: argparse.Namespace) -> "Results":
    from spi_plugins.cli.comparison.results import compare

    return compare(
        load_groups(args.runs),
        source=args.score,
        references=_read_references(args.reference),
        cost_limit=args.cost_limit,
    )


def _add_runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="[NAME=]RUN",
        help="a run's folder, a folder with runs at any depth, or a pattern such as 'runs/ppo/*'; NAME names its group",
    )


def _add_output(parser: argparse.ArgumentParser, default: str | None, text: str) -> None:
    path = None if default is None else pathlib.Path(default)
    parser.add_argument("-o", "--output", type=pathlib.Path, default=path, metavar="FILE", help=text)


def _add_scores(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--score",
        choices=("evaluation", "training"),
        help="take the evaluation at the end, or the last training episodes (default: the evaluation if all runs have "
        "one)",
    )
    parser.add_argument(
        "--reference",
        nargs="+",
        action="extend",
        metavar="ENV=LOW,HIGH",
        help="returns that count as 0 and 1, for example of random play and of an expert (default: Atari's published "
        "ones; else the lowest and highest of the runs if there are several environments)",
    )
    _add_limit(parser)


def _add_limit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cost-limit", type=_cost, metavar="C", help="limit of an episode's cost (default: the runs' own)"
    )


def _cost(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError(text)
    return value


_cost.__name__ = "cost of at least 0"  # argparse uses it in its message


def _read_references(words: Sequence[str] | None) -> Mapping[str, tuple[float, float]]:
    references = {}
    for word in words or ():
        env, _, bounds = word.rpartition("=")
        try:
            low, high = map(float, bounds.split(","))
        except ValueError:
            low = high = float("nan")
        if not env or not low < high:
            raise CommandError(f"--reference takes ENV=LOW,HIGH such as CartPole-v1=22,500, got {word!r}.")
        references[env] = (low, high)
    return references


def _check_picture(path: pathlib.Path) -> None:
    if path.suffix.lower() not in FORMATS:
        raise CommandError(f"-o {path}: a picture's name must end in {', '.join(FORMATS)}.")
    check_target("-o", path)


def _check_keys(groups: Groups, keys: Sequence[str] | None) -> None:
    found = {key for run in groups.runs for key in run.curves}
    for key in keys or ():
        if key not in found:
            known = column_names(run.path for run in groups.runs)
            hint = did_you_mean(key, known)
            raise CommandError(f"-y {key}: no run has such numbers.{hint} Columns: {', '.join(known)}.")
    if keys is None and not found & {RETURN, COST}:
        raise CommandError(f"No episode has ended in {groups.runs[0].path}, so there is no curve of returns.")


def _write_notes(notes: Sequence[str]) -> None:
    for note in notes:
        sys.stdout.write(f"Note: {note}\n")
