"""How long, where, and from what a run goes on."""

import argparse
import pathlib

from spi_plugins import plugins
from spi_plugins.cli.arguments import parse_pairs, positive, seed, whole


def add(parser: argparse.ArgumentParser) -> None:
    """Add the group."""
    group = parser.add_argument_group("run")
    group.add_argument(
        "-n",
        "--n-timesteps",
        type=positive,
        metavar="N",
        help="environment steps; with --resume, how many more (default: the remaining ones)",
    )
    group.add_argument("--seed", type=seed, metavar="S", help="seed of everything (default: 0)")
    group.add_argument(
        "--seeds",
        type=positive,
        metavar="K",
        help="train K runs in one folder, with seeds from --seed on, one after the other",
    )
    group.add_argument("-f", "--log-folder", type=pathlib.Path, metavar="DIR", help="(default: runs)")
    group.add_argument(
        "--save-freq",
        type=whole,
        metavar="N",
        help="environment steps between checkpoints, 0 for none (default: a tenth of the run)",
    )
    group.add_argument(
        "-c",
        "--config",
        type=pathlib.Path,
        metavar="FILE",
        help="a file of options: a run's config.json, rl_zoo3's, or your own; words win over it",
    )
    group.add_argument(
        "-i",
        "--resume",
        type=pathlib.Path,
        metavar="RUN_OR_ZIP",
        help="continue a run, or a saved model",
    )
    group.add_argument(
        "--save-replay-buffer",
        action=argparse.BooleanOptionalAction,
        help="store the replay buffer with the model, so that a resumed run has it (default: yes)",
    )
    parser.set_defaults(group=None)
    for option, names in {"config": ("-conf", "--conf-file"), "resume": ("--trained-agent",)}.items():
        group.add_argument(*names, dest=option, type=pathlib.Path, help=argparse.SUPPRESS)  # rl_zoo3's
    group.add_argument(
        "--trust-imports",
        action="store_true",
        help="with --resume and -c RUN, import the modules that the run's env and wrappers name, and load a model file "
        "that may run code",
    )
    group.add_argument(
        "--callback",
        nargs="+",
        action="append",
        metavar=("NAME", "KEY=VALUE"),
        help="a callback from 'spi list callbacks' and its arguments; may be repeated",
    )


def check(args: argparse.Namespace) -> None:
    """Refuse callbacks that nobody registers, and words that are not pairs."""
    for name, *rest in args.callback or ():
        plugins.registry("callbacks").get(name)
        parse_pairs("--callback", rest)
