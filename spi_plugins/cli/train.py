"""The arguments of ``spi train``. What does the work is imported when the command runs."""

import argparse
import functools
from collections.abc import Callable

from spi_plugins.cli.arguments import CommandError
from spi_plugins.cli.config_file import Filler, read_file
from spi_plugins.cli.dispatch import Parser
from spi_plugins.cli.requests import check_train
from spi_plugins.cli.train_options import environment, evaluation, hyperparameters, run, tracking


def configure(parser: Parser) -> Callable[[argparse.Namespace], int]:
    """Add the arguments of ``spi train``; their defaults are ``None`` because a resumed run has its own values."""
    _add_options(parser)

    def help_after(args: argparse.Namespace) -> str:
        shown = Parser(prog=parser.prog, description=parser.description)
        _add_options(shown, args.algo or args.algo_option)
        return shown.format_help()

    parser.help_after = help_after
    return functools.partial(train, parser)


def _add_options(parser: Parser, algorithm: str | None = None) -> None:
    parser.usage = "spi train ALGO --env ID [-n N] [options]\n       spi train --resume RUN [-n N]"
    parser.add_argument("algo", metavar="ALGO", nargs="?", help="see 'spi list algorithms'; also --algo ALGO")
    parser.add_argument("--algo", dest="algo_option", help=argparse.SUPPRESS)
    for group in (run, environment, evaluation, tracking):
        group.add(parser)
    hyperparameters.add(parser, algorithm)


def train(parser: Parser, args: argparse.Namespace) -> int:
    """Train, and return the exit code; mistakes are found before JAX and torch are imported."""
    complete(parser, args)
    for group in (environment, run, tracking):
        group.check(args)
    check_train(args)
    from spi_plugins.algorithms.compile_notice import announcing_compilation
    from spi_plugins.cli import training

    with announcing_compilation():
        return training.train(args)


def complete(parser: Parser, args: argparse.Namespace) -> None:
    """Add to the arguments what the file of ``-c`` says; ``args.values`` are then the hyperparameters."""
    if args.algo is not None and args.algo_option not in (None, args.algo):
        raise CommandError(f"ALGO is {args.algo!r}, and --algo is {args.algo_option!r}; give one of them.")
    args.algo = args.algo_option if args.algo is None else args.algo
    values, source = {}, f"-c {args.config}"
    filler = Filler(parser, args)
    if args.config is not None:
        values = filler.fill(source, read_file(args.config, args.env))
        args.algo = args.algo_option if args.algo is None else args.algo
    words = hyperparameters.read(args)
    if args.algo is not None:
        values = filler.check(source, values)
        words = hyperparameters.check(args.algo, args.policy, words)
    args.values = {**values, **words}
