"""``spi demo``: from pixels to a learned policy, its curve and its video, in the time of a coffee."""

import argparse
import json
import pathlib
import shlex
import sys
from collections.abc import Callable

from spi_plugins.cli.arguments import seed
from spi_plugins.cli.requests import DEFAULT_FOLDER, check_writable, require_package
from spi_plugins.cli.run_folder import RunFolder

ENV = "spi/PixelGoal-v0"
ENV_KWARGS = {"size": 4, "num_hazards": 2}
# The rest is the preset of the environment, whose own board is larger and takes longer.
SETTINGS = {"--n-timesteps": "50000", "--eval-episodes": "100"}
FILM = ("--no-dream", "--n-episodes", "8", "--max-steps", "100", "--fps", "4")
RANDOM_STEPS = 12_800
_BREAKOUT = "spi train deep_spi --env envpool:Breakout-v5 -n 500_000 --progress"


def configure(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Add the arguments of ``spi demo``."""
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="(default: 0)")
    parser.add_argument(
        "-f", "--log-folder", type=pathlib.Path, default=DEFAULT_FOLDER, metavar="DIR", help="(default: runs)"
    )
    return run


def run(args: argparse.Namespace) -> int:
    """Train, film, and compare with random play.

    Raises:
        SPIError: a package is missing, or the folder cannot be written.
    """
    for package, extra in (("rich", "cli"), ("matplotlib", "plot"), ("PIL", "video")):
        require_package(package, "Parts of the demo", extra)
    check_writable("-f", args.log_folder)
    from spi_plugins.cli.dispatch import main

    pairs = [f"{name}={value}" for name, value in ENV_KWARGS.items()]
    settings = [word for option in SETTINGS.items() for word in option]
    train = ["train", "deep_spi", "--env", ENV, "--env-kwargs", *pairs, *settings, "--seed", str(args.seed)]
    train += ["--log-folder", str(args.log_folder), "--progress"]
    _say(
        "Deep SPI learns to walk to a green cell, which is elsewhere in every episode, from images alone.",
        "On two cores it takes about two minutes, a part of which goes to compiling the first time.",
        "",
    )
    before = _runs(args.log_folder)
    code = _command(main, train)
    if code:
        return code
    (folder,) = _runs(args.log_folder) - before
    video = folder / "video.gif"
    code = _command(main, ["video", str(folder), "-o", str(video), *FILM])
    if code:
        return code
    learned = json.loads(RunFolder(folder).evaluation.read_text())["mean_return"]
    _say(
        "",
        f"Random play has a mean return of {random_return(args.seed):.2f}, Deep SPI of {learned:.2f}.",
        f"  its learning curve  {RunFolder(folder).curve}",
        f"  its video           {video}",
        "",
        "Next:",
        f"  spi eval {shlex.quote(str(folder))} --n-episodes 200",
        f"  spi video {shlex.quote(str(folder))}    # with the dream of its world model next to it",
        f"  {_BREAKOUT}",
        "    Atari: about an hour, for a score of 6 where random play has 1; the paper trains for 10 million steps",
    )
    return 0


def _command(main: Callable[[list[str]], int], words: list[str]) -> int:
    _say(f"$ {shlex.join(['spi', *words])}")
    return main(words)


def _runs(root: pathlib.Path) -> set[pathlib.Path]:
    return set((root / "deep_spi").glob("*")) if root.is_dir() else set()


def random_return(seed: int) -> float:
    """Mean return of uniformly random actions."""
    import numpy as np

    from spi_plugins.algorithms.experience import gather
    from spi_plugins.algorithms.named_envs import make_copies

    env = make_copies(ENV, n_envs=64, seed=seed, env_kwargs=ENV_KWARGS)
    return float(np.mean(gather(env, None, RANDOM_STEPS, seed).episode_returns))


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()
