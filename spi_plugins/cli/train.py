"""The arguments of ``spi train``. What does the work is imported when the command runs."""

import argparse
from collections.abc import Callable

from spi_plugins.cli.requests import check_train
from spi_plugins.cli.train_options import environment, evaluation, hyperparameters, run, tracking


def configure(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Add the arguments of ``spi train``; their defaults are ``None`` because a resumed run has its own values."""
    parser.add_argument("algo", metavar="ALGO", nargs="?", help="see 'spi list algorithms'")
    for group in (environment, run, evaluation, tracking, hyperparameters):
        group.add(parser)
    return train


def train(args: argparse.Namespace) -> int:
    """Train, and return the exit code; mistakes are found before JAX and torch are imported."""
    for group in (environment, run, tracking):
        group.check(args)
    check_train(args)
    from spi_plugins.algorithms.compile_notice import announcing_compilation
    from spi_plugins.cli import training

    with announcing_compilation():
        return training.train(args)
