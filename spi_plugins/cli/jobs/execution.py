"""Runs what remains of a list of jobs, and reports on all of them."""

import argparse
import pathlib
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from spi_plugins.cli.arguments import Arguments, CommandError, RunError, to_json
from spi_plugins.cli.comparison.theme import require_matplotlib
from spi_plugins.cli.dispatch import INTERRUPTED, main
from spi_plugins.cli.jobs.plan import Job, Progress, survey
from spi_plugins.cli.requests import check_writable, require_package
from spi_plugins.cli.train_options.evaluation import limit
from spi_plugins.plugins import did_you_mean

RESUMED = "Runs that are finished are skipped, and those that were stopped go on."


class Ended(NamedTuple):
    """A run that has ended: the exit code of its command, and the error if that was not told yet."""

    progress: Progress
    code: int
    error: str = ""


#: Runs what remains of a plan in a folder, in any order; after Ctrl-C it ends with a run whose code says so.
Executor = Callable[[Sequence[Progress], pathlib.Path, argparse.Namespace], Iterator[Ended]]


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
    add_cluster_options(parser)
    parser.add_argument(
        "--part",
        type=part,
        metavar="I/N",
        help="train only the I-th of N parts of the runs and report nothing, for jobs that divide the runs among them",
    )
    parser.add_argument("--dry-run", action="store_true", help="only list what would run")
    parser.add_argument("--json", action="store_true", help="with --dry-run, print JSON")


def part(text: str) -> tuple[int, int]:
    """The number of a part, from 1 on, and how many there are."""
    at, _, count = text.partition("/")
    if not 1 <= int(at) <= int(count):
        raise ValueError(text)
    return int(at), int(count)


part.__name__ = "part such as 2/8"  # argparse uses it in its message


def add_cluster_options(parser: Arguments) -> None:
    """Add the options that say where runs are trained."""
    parser.add_argument(
        "--on",
        metavar="ray",
        help="train several runs at a time on Ray: the cluster of RAY_ADDRESS, one that 'ray start' has started here, "
        "or else the cores of this machine (default: one run after the other, in this process)",
    )
    parser.add_argument(
        "--cpus-per-run", type=limit, metavar="X", help="with --on ray, CPUs that a run takes (default: 1)"
    )
    parser.add_argument(
        "--gpus-per-run",
        type=limit,
        metavar="X",
        help="with --on ray, GPUs that a run takes, such as 0.25 for four runs on each (default: 0)",
    )


def check_cluster_options(args: argparse.Namespace) -> None:
    """Fill in what was not given.

    Raises:
        SPIError: an option is wrong, or Ray is not installed.
    """
    if args.on not in (None, "ray"):
        hint = did_you_mean(args.on, ["ray"])
        raise CommandError(f"--on {args.on!r} is unknown.{hint} Allowed: ray.")
    if args.on is None and (args.cpus_per_run is not None or args.gpus_per_run is not None):
        raise CommandError("--cpus-per-run and --gpus-per-run go with --on ray.")
    if args.on is not None:
        require_package("ray", "--on ray", extra="ray")
    args.cpus_per_run = 1.0 if args.cpus_per_run is None else args.cpus_per_run
    args.gpus_per_run = args.gpus_per_run or 0.0


def folder_of(args: argparse.Namespace, default: str) -> pathlib.Path:
    """The folder of the runs, checked with the other options; as all machines of a cluster know it."""
    check_cluster_options(args)
    folder = args.log_folder or pathlib.Path(default)
    return folder if args.on is None else folder.resolve()


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
        folder: of the runs, from ``folder_of``.
        title: of the report.
        cost_limit: of an episode, in the report; that of the runs if ``None``.

    Returns:
        0, or 130 after Ctrl-C.

    Raises:
        SPIError: an argument is wrong.
        RunError: a run failed; the others are done.
    """
    if args.part is not None:
        at, count = args.part
        jobs = jobs[at - 1 :: count]
    plan = survey(jobs, folder)
    if args.json and not args.dry_run:
        raise CommandError("--json goes with --dry-run.")
    if args.dry_run:
        _list(plan, as_json=args.json)
        return 0
    require_matplotlib()
    check_writable("-f", folder)
    codes = {}
    for ended in _executor(args)(plan, folder, args):
        if ended.error:
            sys.stderr.write(f"spi: {ended.progress.job}: {ended.error}\n")
        if ended.code == INTERRUPTED:
            return INTERRUPTED
        codes[str(ended.progress.job)] = ended.code
    after = survey(jobs, folder)
    for progress in after:
        if progress.run is None and codes.get(str(progress.job)) == 0:
            raise RunError(f"{folder} lacks the run of {progress.job}: do all machines share this folder?")
    if args.part is None:
        _report(after, folder, title, cost_limit, args.words)
    failed = [job for job, code in codes.items() if code != 0]
    if failed:
        raise RunError(f"{len(failed)} of {len(plan)} runs failed: {'; '.join(failed)}")
    return 0


def _executor(args: argparse.Namespace) -> Executor:
    if args.on is None:
        return _run_here
    from spi_plugins.cli.jobs.on_ray import run_on_ray

    return run_on_ray


def _run_here(plan: Sequence[Progress], folder: pathlib.Path, args: argparse.Namespace) -> Iterator[Ended]:
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
