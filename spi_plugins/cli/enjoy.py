"""``spi enjoy``: a run's policy at play in a window, with rl_zoo3's options."""

import argparse
import pathlib
from collections.abc import Callable

from spi_plugins import plugins
from spi_plugins.cli import played
from spi_plugins.cli.arguments import CommandError, positive, whole
from spi_plugins.cli.dispatch import Parser
from spi_plugins.cli.requests import DEFAULT_FOLDER
from spi_plugins.cli.run_folder import RunFolder, find_run


def configure(parser: Parser) -> Callable[[argparse.Namespace], int]:
    """Add the arguments of ``spi enjoy``."""
    parser.usage = "spi enjoy RUN [options]\n       spi enjoy --algo ALGO --env ID [-f DIR] [options]"
    parser.set_defaults(n_episodes=1)
    parser.add_argument(
        "model",
        metavar="RUN",
        nargs="?",
        type=pathlib.Path,
        help="a run's folder or a model file (default: as --algo, --env and --folder say)",
    )
    played.add_manner(parser)
    parser.add_argument(
        *("-f", "--folder"),
        type=pathlib.Path,
        default=DEFAULT_FOLDER,
        metavar="DIR",
        help="where the runs of --algo and --env are (default: runs)",
    )
    parser.add_argument(
        "--exp-id", type=whole, default=0, metavar="K", help="which of them, 0 for the newest (default)"
    )
    parser.add_argument(
        "-n", "--n-timesteps", type=positive, default=1000, metavar="N", help="steps to play (default: 1000)"
    )
    parser.add_argument("--no-render", action="store_true", help="play without a window")
    models = parser.add_mutually_exclusive_group()
    models.add_argument(
        "--load-checkpoint", type=whole, metavar="N", help="the model after N steps of training"
    )
    models.add_argument("--load-last-checkpoint", action="store_true", help="the newest checkpoint")
    return run


def run(args: argparse.Namespace) -> int:
    """Play some steps, and print each episode.

    Raises:
        SPIError: there is no such run or model, or it cannot be played or shown.
    """
    if args.model is None:
        if args.algo is None or args.env is None:
            raise CommandError("RUN is required, or --algo and --env (see 'spi enjoy --help').")
        plugins.registry("algorithms").get(args.algo)
        args.model = find_run(args.folder, args.algo, args.env, args.exp_id).path
    if args.load_checkpoint is not None or args.load_last_checkpoint:
        args.model = _checkpoint(RunFolder(args.model), args.load_checkpoint)
    what = played.read(args)

    from spi_plugins.algorithms.compile_notice import announcing_compilation
    from spi_plugins.cli.playing import play_steps

    with announcing_compilation():
        play_steps(what, args.n_timesteps, shown=not args.no_render)
    return 0


def _checkpoint(folder: RunFolder, steps: int | None) -> pathlib.Path:
    """The checkpoint after some steps of training, or the newest."""
    found = {int(path.stem.split("_")[-2]): path for path in folder.checkpoints.glob("*_steps.zip")}
    if not found:
        raise CommandError(f"{folder.path} has no checkpoints.")
    if steps is None:
        return found[max(found)]
    if steps not in found:
        raise CommandError(
            f"--load-checkpoint {steps}: {folder.path} has {', '.join(map(str, sorted(found)))}."
        )
    return found[steps]
