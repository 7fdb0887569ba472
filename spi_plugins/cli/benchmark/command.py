"""``spi benchmark``: the papers' benchmarks, any part of them, continued where they were stopped."""

import argparse
import functools
import pathlib
import shlex
import sys
from collections.abc import Callable, Sequence

from spi_plugins import plugins
from spi_plugins.cli.arguments import RunError, add_pairs, positive, seed, to_json
from spi_plugins.cli.benchmark.plan import Progress, survey
from spi_plugins.cli.benchmark.protocols import ATARI, SAFETY, Protocol, choose_tasks, make_jobs
from spi_plugins.cli.comparison.theme import require_matplotlib
from spi_plugins.cli.dispatch import INTERRUPTED, USAGE_ERROR, main
from spi_plugins.cli.env_names import find_source
from spi_plugins.cli.requests import check_writable

_RESUMED = "Runs that are finished are skipped, and those that were stopped go on."


def configure(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Add the subcommands of ``spi benchmark``."""
    kinds = parser.add_subparsers(metavar="BENCHMARK", required=True, parser_class=type(parser))
    atari = kinds.add_parser(
        "atari",
        help="Deep SPI's: stochastic Atari games, human-normalized",
        description=f"{ATARI.about} {_RESUMED}",
    )
    _add_arguments(atari, ATARI, "--games", "GAME", "such as Breakout Pong, or all 57")
    safety = kinds.add_parser(
        "safety", help="SPOWL's Table 1: safety-gymnasium", description=f"{SAFETY.about} {_RESUMED}"
    )
    _add_arguments(safety, SAFETY, "--tasks", "TASK", f"of {', '.join(SAFETY.tasks)}; or all")
    return lambda args: args.benchmark(args)


def _add_arguments(
    parser: argparse.ArgumentParser, protocol: Protocol, option: str, metavar: str, text: str
) -> None:
    parser.add_argument(option, dest="tasks", nargs="+", required=True, metavar=metavar, help=text)
    parser.add_argument(
        "--algo",
        nargs="+",
        default=list(protocol.algorithms),
        metavar="ALGO",
        help=f"(default: {' '.join(protocol.algorithms)})",
    )
    parser.add_argument(
        "--seeds",
        type=positive,
        default=protocol.n_seeds,
        metavar="N",
        help=f"runs of each algorithm on each environment (default: {protocol.n_seeds})",
    )
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="the first seed (default: 0)")
    parser.add_argument(
        "-n",
        "--n-timesteps",
        type=positive,
        default=protocol.n_timesteps,
        metavar="N",
        help=f"steps of the environment in a run (default: {protocol.n_timesteps:,})",
    )
    add_pairs(parser, "-p", "--hyperparameters", help="arguments of all algorithms, Python literals")
    parser.add_argument(
        "-f",
        "--log-folder",
        type=pathlib.Path,
        metavar="DIR",
        help="folder of the runs and the report (default: benchmark-NAME)",
    )
    parser.add_argument(
        "--trust-imports",
        action="store_true",
        help="go on with model files that may run code, those of Stable-Baselines3's own algorithms",
    )
    parser.add_argument("--dry-run", action="store_true", help="only list what would run")
    parser.add_argument("--json", action="store_true", help="with --dry-run, print JSON")
    parser.set_defaults(benchmark=functools.partial(_run, protocol=protocol, option=option))


def _run(args: argparse.Namespace, *, protocol: Protocol, option: str) -> int:
    """Train what is missing, then print the table and write the report.

    Raises:
        SPIError: an argument is wrong.
        RunError: a run failed; the others are done.
    """
    folder = args.log_folder or pathlib.Path(f"benchmark-{args.words[1]}")
    plan = _plan(args, protocol, option, folder)
    if args.dry_run:
        _list(plan, folder, as_json=args.json)
        return 0
    require_matplotlib()
    check_writable("-f", folder)
    failed = []
    for at, progress in enumerate(plan, 1):
        if progress.state == "finished":
            continue
        sys.stdout.write(f"\n[{at}/{len(plan)}] {progress.job}\n")
        code = main(progress.command(folder, trust_imports=args.trust_imports))
        if code in (INTERRUPTED, USAGE_ERROR):  # the other runs would be refused too
            return code
        if code != 0:
            failed.append(str(progress.job))
    _report(_plan(args, protocol, option, folder), folder, protocol, args.words)
    if failed:
        raise RunError(f"{len(failed)} of {len(plan)} runs failed: {'; '.join(failed)}")
    return 0


def _plan(args: argparse.Namespace, protocol: Protocol, option: str, folder: pathlib.Path) -> list[Progress]:
    for name in args.algo:
        plugins.registry("algorithms").get(name)
    jobs = make_jobs(
        protocol,
        choose_tasks(option, protocol, args.tasks),
        algorithms=args.algo,
        seeds=range(args.seed, args.seed + args.seeds),
        n_timesteps=args.n_timesteps,
        hyperparameters=args.hyperparameters or (),
    )
    for env in {job.env for job in jobs}:
        find_source(env)
    return survey(jobs, folder)


def _list(plan: Sequence[Progress], folder: pathlib.Path, *, as_json: bool) -> None:
    if as_json:
        rows = [
            {
                "state": each.state,
                "steps": each.remaining,
                "run": None if each.run is None else str(each.run),
                "command": None if each.state == "finished" else ["spi", *each.command(folder)],
            }
            for each in plan
        ]
        sys.stdout.write(to_json(rows) + "\n")
        return
    for each in plan:
        if each.state == "finished":
            sys.stdout.write(f"finished  {'':>11}  {each.run}\n")
        else:
            command = shlex.join(["spi", *each.command(folder)])
            sys.stdout.write(f"{each.state:<8}  {each.remaining:>11,}  {command}\n")
    counts = [sum(each.state == state for each in plan) for state in ("finished", "resume", "start")]
    steps = sum(each.remaining for each in plan)
    sys.stdout.write(
        "{} runs: {} finished, {} to resume, {} to start; {:,} steps to take.\n".format(
            len(plan), *counts, steps
        )
    )


def _report(plan: Sequence[Progress], folder: pathlib.Path, protocol: Protocol, words: Sequence[str]) -> None:
    """Print the table, and write the page, of the runs that there are."""
    from spi_plugins.cli.comparison.commands import write_report
    from spi_plugins.cli.comparison.grouping import load_groups
    from spi_plugins.cli.comparison.results import compare
    from spi_plugins.cli.comparison.table import to_text

    runs = [str(each.run) for each in plan if each.run is not None]
    if not runs:
        return
    groups = load_groups(runs)
    scored = all(run.evaluation is not None for run in groups.runs)
    source = protocol.source if scored else "training"
    results = compare(groups, source=source, cost_limit=protocol.cost_limit)
    page = folder / "report.html"
    write_report(results, page, title=protocol.title, words=words)
    sys.stdout.write(f"\n{to_text(results)}\nReport: {page}\n")
