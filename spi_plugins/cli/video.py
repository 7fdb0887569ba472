"""``spi video``: a policy at play as MP4 or GIF, with the dream of its world model next to it."""

import argparse
import pathlib
import sys
from collections.abc import Callable

from spi_plugins.cli import played
from spi_plugins.cli.arguments import CommandError, positive
from spi_plugins.cli.requests import check_target, require_package
from spi_plugins.dreams.ids import locate_world_model


def configure(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Add the arguments of ``spi video``."""
    played.add_options(parser, n_episodes=1)
    parser.add_argument(
        "-o",
        "--output",
        type=pathlib.Path,
        metavar="FILE",
        help="a .mp4 or .gif (default: video.mp4 in the run's folder)",
    )
    parser.add_argument(
        "--max-steps", type=positive, default=500, metavar="N", help="end after N steps (default: 500)"
    )
    parser.add_argument(
        "--fps", type=positive, metavar="N", help="frames per second (default: the environment's)"
    )
    dream = parser.add_argument_group("dream")
    dream.add_argument(
        "--world-model",
        metavar="FILE",
        help="dream in this world model, a file or a dream's name (default: the run's own, if it has one)",
    )
    dream.add_argument("--no-dream", action="store_true", help="show the environment only")
    dream.add_argument(
        "--horizon",
        type=positive,
        default=15,
        metavar="K",
        help="steps after which the dream begins again in the real state (default: 15)",
    )
    return run


def run(args: argparse.Namespace) -> int:
    """Play, and write the video.

    Raises:
        SPIError: the words are wrong, or the environment cannot be played or seen.
    """
    algorithm, path, folder, task, trusted = played.read(args)
    output = args.output or (pathlib.Path() if folder is None else folder.path) / "video.mp4"
    _check_output(output)
    if args.world_model is not None:
        try:
            locate_world_model(args.world_model)
        except FileNotFoundError as error:
            raise CommandError(str(error)) from error

    from spi_plugins.algorithms.compile_notice import announcing_compilation
    from spi_plugins.cli.recording import Dream, record
    from spi_plugins.cli.video_frames import draw, write_video

    dream = None if args.no_dream else Dream(args.world_model, args.horizon)
    with announcing_compilation():
        recording = record(algorithm, path, task, dream, args.max_steps, trusted=trusted)
    write_video(output, draw(recording), args.fps or recording.fps)
    n_episodes = recording.n_episodes
    sys.stdout.write(
        f"Wrote {output}: {len(recording.moments)} frames of {n_episodes} episode{'s' if n_episodes > 1 else ''}, "
        f"{recording.text}.\n"
    )
    return 0


def _check_output(output: pathlib.Path) -> None:
    if output.suffix.lower() not in (".mp4", ".gif"):
        raise CommandError(f"-o must end in .mp4 or .gif, got {output}.")
    mp4 = output.suffix.lower() == ".mp4"
    for package in ("PIL", "imageio", "imageio_ffmpeg") if mp4 else ("PIL",):
        require_package(package, "Videos", "video")
    check_target("-o", output)
