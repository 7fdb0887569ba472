"""The arguments of ``spi tune``. What does the work is imported when the command runs."""

import argparse
import pathlib
from collections.abc import Callable

from spi_plugins.cli.arguments import Arguments, CommandError, add_pairs, parse_pairs, positive
from spi_plugins.cli.config_file import read_entries
from spi_plugins.cli.dispatch import Parser
from spi_plugins.cli.jobs.execution import add_cluster_options, check_cluster_options
from spi_plugins.cli.requests import check_writable, require_package
from spi_plugins.cli.run_folder import stem_of
from spi_plugins.cli.train import add_options, read
from spi_plugins.cli.train_options import hyperparameters
from spi_plugins.cli.tune.spaces import read_space
from spi_plugins.plugins import did_you_mean

SAMPLERS = ("tpe", "random")
PRUNERS = ("median", "hyperband", "none")
# Options of 'spi train' that mean nothing in a search.
_NOT_HERE = ("resume", "seeds", "profile")


def configure(parser: Parser) -> Callable[[argparse.Namespace], int]:
    """Add the arguments of ``spi tune``: its own, and those of ``spi train``."""
    parser.description = (
        "Search for hyperparameters with Optuna: the best mean return, within the limit of the cost if there is one. "
        "The same command goes on with a search that was stopped. Takes the options of 'spi train', too; a "
        "hyperparameter that is given is not searched."
    )
    _add_own(parser.add_argument_group("search"))
    add_options(parser)
    parser.usage = "spi tune ALGO --env ID [-n N] [options]"

    def help_after(args: argparse.Namespace) -> str:
        shown = Parser(prog=parser.prog, description=parser.description)
        _add_own(shown.add_argument_group("search"))
        add_options(shown, args.algo or args.algo_option)
        shown.usage = parser.usage
        return shown.format_help()

    parser.help_after = help_after
    return run


def _add_own(group: Arguments) -> None:
    add = group.add_argument
    add("--n-trials", type=positive, default=50, metavar="N", help="trials of the whole search (default: 50)")
    add("--timeout", type=positive, metavar="SECONDS", help="start no trial after this time (default: none)")
    add_pairs(
        group,
        "--space",
        help="where to search: KEY=[0.9,0.99], KEY=dict(low=1e-5,high=1e-2,log=True), or a KEY in a dict such as "
        "policy_kwargs.net_arch=[[64,64],[256,256]]; other keys keep the algorithm's own space",
    )
    add("--space-file", type=pathlib.Path, metavar="FILE", help="the same as YAML")
    add("--n-evaluations", type=positive, default=10, metavar="N",
        help="evaluations during a trial, at which it can be pruned (default: 10)")  # fmt: skip
    add("--pruner", default="median", metavar="P", help=f"{', '.join(PRUNERS)} (default: median)")
    add("--sampler", default="tpe", metavar="S", help=f"{', '.join(SAMPLERS)} (default: tpe)")
    add("--n-startup-trials", type=positive, default=10, metavar="N",
        help="trials that are drawn at random and not pruned by the median (default: 10)")  # fmt: skip
    add("--storage", metavar="URL", help="Optuna's database (default: SQLite in the folder of the search)")
    add("--study-name", metavar="NAME", help="name in the database (default: ALGO-ENV)")
    add("--worker", type=int, default=0, help=argparse.SUPPRESS)  # one of several: it draws other numbers
    _add_workers(group)


def _add_workers(group: Arguments) -> None:
    group.add_argument(
        "--n-jobs", type=positive, metavar="N", help="with --on ray, how many trials at a time (default: 2)"
    )
    add_cluster_options(group)


def run(args: argparse.Namespace) -> int:
    """Search, and write the best settings; mistakes are found before JAX, Ray and Optuna are imported.

    Raises:
        SPIError: an argument is wrong, or a package is missing.
        RunError: trials failed, or none has kept the limit of the cost.
    """
    words = _words_of_train(args)
    for name in _NOT_HERE:
        if getattr(args, name):
            raise CommandError(f"--{name} is not for 'spi tune'.")
    for option, given, allowed in (("--pruner", args.pruner, PRUNERS), ("--sampler", args.sampler, SAMPLERS)):
        if given not in allowed:
            raise CommandError(
                f"{option} {given!r} is unknown.{did_you_mean(given, allowed)} Allowed: {', '.join(allowed)}."
            )
    check_cluster_options(args)
    if args.n_jobs is not None and args.on is None:
        raise CommandError("--n-jobs goes with --on ray.")
    args.n_jobs = args.n_jobs or 2
    base = read(words)
    changes = {} if args.space_file is None else read_entries("--space-file", args.space_file)
    changes |= parse_pairs("--space", args.space)
    space = read_space(base.algo, changes, fixed=hyperparameters.read(args))
    if base.eval_episodes == 0:
        raise CommandError("--eval-episodes is 0, but a search needs evaluations.")
    require_package("optuna", "Searches", extra="tune")
    folder = args.log_folder or pathlib.Path(f"tune-{base.algo}-{stem_of(base.env)}")
    check_writable("-f", folder)
    from spi_plugins.cli.tune.search import search

    return search(args, base, space, folder)


def _words_of_train(args: argparse.Namespace) -> list[str]:
    """The words that are those of ``spi train``."""
    own = Parser(prog="spi tune")
    _add_own(own)
    return ["train", *own.parse_known_args(args.words[1:])[1]]


def words_of_worker(args: argparse.Namespace) -> list[str]:
    """The words that one of several workers is told, without those that say how many there are."""
    own = Parser(prog="spi tune")
    _add_workers(own)
    return list(own.parse_known_args(args.words[1:])[1])
