"""``spi benchmark``: the papers' benchmarks, any part of them, continued where they were stopped."""

import argparse
import functools
from collections.abc import Callable

from spi_plugins.cli.arguments import add_pairs, positive, seed
from spi_plugins.cli.benchmark.protocols import ATARI, SAFETY, Protocol, choose_tasks, make_jobs
from spi_plugins.cli.jobs.execution import RESUMED, add_options, execute, folder_of


def configure(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Add the subcommands of ``spi benchmark``."""
    kinds = parser.add_subparsers(metavar="BENCHMARK", required=True, parser_class=type(parser))
    atari = kinds.add_parser(
        "atari",
        help="Deep SPI's: stochastic Atari games, human-normalized",
        description=f"{ATARI.about} {RESUMED}",
    )
    _add_arguments(atari, ATARI, "--games", "GAME", "such as Breakout Pong, or all 57")
    safety = kinds.add_parser(
        "safety", help="SPOWL's Table 1: safety-gymnasium", description=f"{SAFETY.about} {RESUMED}"
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
    add_options(parser, "benchmark-NAME")
    parser.set_defaults(benchmark=functools.partial(_run, protocol=protocol, option=option))


def _run(args: argparse.Namespace, *, protocol: Protocol, option: str) -> int:
    """Train what is missing, then print the table and write the report.

    Raises:
        SPIError: an argument is wrong.
        RunError: a run failed; the others are done.
    """
    folder = folder_of(args, f"benchmark-{args.words[1]}")
    jobs = make_jobs(
        protocol,
        choose_tasks(option, protocol, args.tasks),
        folder,
        algorithms=args.algo,
        seeds=range(args.seed, args.seed + args.seeds),
        n_timesteps=args.n_timesteps,
        hyperparameters=args.hyperparameters or (),
    )
    return execute(args, jobs, folder, title=protocol.title, cost_limit=protocol.cost_limit)
