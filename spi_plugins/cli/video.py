"""``spi video``: a policy at play as MP4 or GIF, with the dream of its world model next to it."""

import argparse
import pathlib
import sys
from collections.abc import Callable

from spi_plugins.cli.arguments import CommandError, add_pairs, parse_pairs, positive, seed
from spi_plugins.cli.env_names import check_imports, find_source
from spi_plugins.cli.requests import algorithm_of, check_model_file, check_target, require_package
from spi_plugins.cli.run_folder import SEED_OFFSET, EvaluationTask, locate_model
from spi_plugins.dreams.ids import locate_world_model


def configure(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Add the arguments of ``spi video``."""
    parser.add_argument(
        "model", metavar="MODEL_ZIP_OR_RUN", type=pathlib.Path, help="a run's folder or a model file"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=pathlib.Path,
        metavar="FILE",
        help="a .mp4 or .gif (default: video.mp4 in the run's folder)",
    )
    parser.add_argument("--algo", metavar="ALGO", help="algorithm of a model file outside a run")
    parser.add_argument("--env", metavar="ID", help="environment (default: the run's)")
    add_pairs(
        parser, "--env-kwargs", help="arguments of the environment, Python literals (default: the run's)"
    )
    parser.add_argument("--n-episodes", type=positive, default=1, metavar="N", help="(default: 1)")
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
    actions = parser.add_mutually_exclusive_group()
    actions.add_argument(
        "--deterministic",
        action="store_true",
        default=None,
        help="take the most likely actions (default, except on images)",
    )
    actions.add_argument(
        "--stochastic", dest="deterministic", action="store_false", help="sample actions (default on images)"
    )
    parser.add_argument(
        "--seed", type=seed, metavar="S", help="seed of the environment (default: far from training's)"
    )
    parser.add_argument(
        "--trust-imports",
        action="store_true",
        help="import the module that the run's env names, and load a model file that may run code",
    )
    return run


def run(args: argparse.Namespace) -> int:
    """Play, and write the video.

    Raises:
        SPIError: the words are wrong, or the environment cannot be played or seen.
    """
    path, folder = locate_model(args.model)
    config = None if folder is None else folder.read_config()
    algorithm = algorithm_of(path, folder, args.algo)
    env = args.env or (config and config.env)
    if not algorithm or not env:
        raise CommandError(
            f"{path} does not belong to a run: name its algorithm and environment with --algo and --env."
        )
    if not args.env and not args.trust_imports:
        check_imports(env)
    find_source(env)
    check_model_file(algorithm, path)
    env_kwargs = parse_pairs("--env-kwargs", args.env_kwargs)
    if config is not None and env == config.env:
        env_kwargs = {**config.env_kwargs, **env_kwargs}
    output = args.output or (pathlib.Path() if folder is None else folder.path) / "video.mp4"
    _check_output(output)
    if args.world_model is not None:
        try:
            locate_world_model(args.world_model)
        except FileNotFoundError as error:
            raise CommandError(str(error)) from error
    offset = (config.seed if config else 0) + SEED_OFFSET
    task = EvaluationTask(
        env, env_kwargs, args.n_episodes, args.deterministic, offset if args.seed is None else args.seed
    )

    from spi_plugins.algorithms.compile_notice import announcing_compilation
    from spi_plugins.cli.recording import Dream, record
    from spi_plugins.cli.video_frames import draw, write_video

    dream = None if args.no_dream else Dream(args.world_model, args.horizon)
    with announcing_compilation():
        recording = record(algorithm, path, task, dream, args.max_steps, trusted=args.trust_imports)
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
