"""The arguments of ``spi train``. What does the work is imported when the command runs."""

import argparse
import pathlib
from collections.abc import Callable

from spi_plugins.cli.arguments import add_pairs, copies, positive, seed, whole
from spi_plugins.cli.requests import check_train


def configure(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Add the arguments of ``spi train``; their defaults are ``None`` because a resumed run has its own values."""
    parser.add_argument("algo", metavar="ALGO", nargs="?", help="see 'spi list algorithms'")
    parser.add_argument(
        "--env",
        metavar="ID",
        help="a Gymnasium id, a name from 'spi list envs', or FAMILY:ID such as envpool:Breakout-v5",
    )
    parser.add_argument(
        "-n",
        "--n-timesteps",
        type=positive,
        metavar="N",
        help="environment steps; with --resume, how many more (default: the remaining ones)",
    )
    parser.add_argument(
        "--n-envs",
        type=copies,
        metavar="N",
        help="copies of the environment (default: 8 of a Gymnasium environment, else 128)",
    )
    parser.add_argument("--seed", type=seed, metavar="S", help="seed of everything (default: 0)")
    parser.add_argument("--policy", metavar="P", help="policy (default: chosen by the observation space)")
    add_pairs(parser, "-p", "--hyperparameters", help="arguments of the algorithm, Python literals")
    add_pairs(parser, "--env-kwargs", help="arguments of the environment, Python literals")
    parser.add_argument(
        "--callback",
        nargs="+",
        action="append",
        metavar=("NAME", "KEY=VALUE"),
        help="a callback from 'spi list callbacks' and its arguments; may be repeated",
    )
    parser.add_argument("-f", "--log-folder", type=pathlib.Path, metavar="DIR", help="(default: runs)")
    parser.add_argument("--progress", action="store_true", help="show a progress bar")
    parser.add_argument(
        "--save-freq",
        type=whole,
        metavar="N",
        help="environment steps between checkpoints, 0 for none (default: a tenth of the run)",
    )
    parser.add_argument(
        "--eval-episodes",
        type=whole,
        metavar="N",
        help="episodes of the evaluation at the end, 0 for none (default: 10)",
    )
    parser.add_argument(
        "--resume", type=pathlib.Path, metavar="RUN_OR_ZIP", help="continue a run, or a saved model"
    )
    parser.add_argument(
        "--trust-imports",
        action="store_true",
        help="with --resume, import the module that the run's env names, and load a model file that may run code",
    )
    parser.add_argument("-tb", "--tensorboard-log", metavar="DIR", help="also log for TensorBoard")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="print the log while training")
    return run


def run(args: argparse.Namespace) -> int:
    """Train, and return the exit code; mistakes are found before JAX and torch are imported."""
    check_train(args)
    from spi_plugins.cli.compile_cache import keep_compiled_programs
    from spi_plugins.cli.training import train

    keep_compiled_programs()
    return train(args)
