"""Runs what remains of a list of jobs, and reports on all of them."""

import argparse
import pathlib
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from spi_plugins.cli.arguments import CommandError, RunError, to_json
from spi_plugins.cli.comparison.theme import require_matplotlib
from spi_plugins.cli.dispatch import INTERRUPTED, main
from spi_plugins.cli.jobs.plan import Job, Progress, survey
from spi_plugins.cli.requests import check_writable

RESUMED = "Runs that are finished are skipped, and those that were stopped go on."


class Ended(NamedTuple):
    """A run that has ended: the exit code of its command, and the error if that was not told yet."""

    progress: Progress
    code: int
    error: str = ""


#: Runs what remains, in any order; ends early after Ctrl-C, with a last run whose code says so.
Executor = Callable[[Sequence[Progress], argparse.Namespace], Iterator[Ended]]


def add_options(parser: argparse.ArgumentParser, default_folder: str) -> None:
    """Add the options that all lists of runs share."""
    parser.add_argument(
        "-f",
        "--log-folder",
        type=pathlib.Path,
        metavar="DIR",
        help=f"folder of the runs and the report (default: {default_folder})",
    )
    parser.add_argument(
        "--trust-imports",
        action="store_true",
        help="go on with runs whose files may run code: models of Stable-Baselines3's own algorithms, MODULE:CLASS",
    )
    parser.add_argument("--dry-run", action="store_true", help="only list what would run")
    parser.add_argument("--json", action="store_true", help="with --dry-run, print JSON")


def execute(
    args: argparse.Namespace,
    jobs: Sequence[Job],
    folder: pathlib.Path,
    *,
    title: str,
    cost_limit: float | None = None,
) -> int:
    """Train what is missing, then print the table and write the report.

    Args:
        args: of the options that ``add_options`` adds.
        jobs: the list.
        folder: of the runs.
        title: of the report.
        cost_limit: of an episode, in the report; that of the runs if ``None``.

    Returns:
        0, or 130 after Ctrl-C.

    Raises:
        SPIError: an argument is wrong.
        RunError: a run failed; the others are done.
    """
    plan = survey(jobs, folder)
    if args.json and not args.dry_run:
        raise CommandError("--json goes with --dry-run.")
    if args.dry_run:
        _list(plan, as_json=args.json)
        return 0
    require_matplotlib()
    check_writable("-f", folder)
    failed = []
    for ended in _run_here(plan, args):
        if ended.error:
            sys.stderr.write(f"{ended.error}\n")
        if ended.code == INTERRUPTED:
            return INTERRUPTED
        if ended.code != 0:
            failed.append(str(ended.progress.job))
    _report(survey(jobs, folder), folder, title, cost_limit, args.words)
    if failed:
        raise RunError(f"{len(failed)} of {len(plan)} runs failed: {'; '.join(failed)}")
    return 0


def _run_here(plan: Sequence[Progress], args: argparse.Namespace) -> Iterator[Ended]:
    """One after the other, in this process."""
    for at, progress in enumerate(plan, 1):
        if progress.state == "finished":
            continue
        sys.stdout.write(f"\n[{at}/{len(plan)}] {progress.job}\n")
        code = main(progress.command(trust_imports=args.trust_imports))
        yield Ended(progress, code)
        if code == INTERRUPTED:
            return


def _list(plan: Sequence[Progress], *, as_json: bool) -> None:
    if as_json:
        rows = [
            {
                "state": each.state,
                "steps": each.remaining,
                "run": None if each.run is None else str(each.run),
                "command": None if each.state == "finished" else ["spi", *each.command()],
            }
            for each in plan
        ]
        sys.stdout.write(to_json(rows) + "\n")
        return
    for each in plan:
        if each.state == "finished":
            sys.stdout.write(f"finished  {'':>11}  {each.run}\n")
        else:
            command = shlex.join(["spi", *each.command()])
            sys.stdout.write(f"{each.state:<8}  {each.remaining:>11,}  {command}\n")
    counts = [sum(each.state == state for each in plan) for state in ("finished", "resume", "start")]
    steps = sum(each.remaining for each in plan)
    sys.stdout.write(
        "{} runs: {} finished, {} to resume, {} to start; {:,} steps to take.\n".format(
            len(plan), *counts, steps
        )
    )


def _report(
    plan: Sequence[Progress],
    folder: pathlib.Path,
    title: str,
    cost_limit: float | None,
    words: Sequence[str],
) -> None:
    """Print the table, and write the page, of the runs that there are."""
    from spi_plugins.cli.comparison.commands import write_report
    from spi_plugins.cli.comparison.grouping import load_groups
    from spi_plugins.cli.comparison.results import compare
    from spi_plugins.cli.comparison.table import to_text

    runs = [str(each.run) for each in plan if each.run is not None]
    if not runs:
        return
    results = compare(load_groups(runs), cost_limit=cost_limit)
    page = folder / "report.html"
    write_report(results, page, title=title, words=words)
    sys.stdout.write(f"\n{to_text(results)}\nReport: {page}\n")
