"""What is shown and logged."""

import argparse
import importlib.util
import pathlib

from spi_plugins.cli.arguments import CommandError, whole
from spi_plugins.cli.requests import check_writable, require_package
from spi_plugins.errors import MissingDependencyError
from spi_plugins.plugins.registry import did_you_mean

TRACKERS = ("wandb", "trackio", "mlflow")


def add(parser: argparse.ArgumentParser) -> None:
    """Add the group."""
    group = parser.add_argument_group("logs")
    group.add_argument("-P", "--progress", action="store_true", help="show a progress bar")
    group.add_argument("-tb", "--tensorboard-log", metavar="DIR", help="also log for TensorBoard")
    group.add_argument(
        "--track",
        nargs="?",
        const="wandb",
        metavar="SERVICE",
        help=f"also log to {', '.join(TRACKERS)}, as their own environment variables say (default: none)",
    )
    group.add_argument(
        "--track-project", metavar="NAME", help="project of the service (default: spi-plugins)"
    )
    group.add_argument("--wandb-project-name", dest="track_project", help=argparse.SUPPRESS)  # rl_zoo3's
    group.add_argument(
        "--profile", action="store_true", help="record where the time of three iterations goes, for Perfetto"
    )
    group.add_argument("-v", action="count", dest="verbose", default=0, help="print the log while training")
    group.add_argument(
        "--verbose",
        nargs="?",
        const=1,
        default=0,
        type=whole,
        metavar="LEVEL",
        help="the same; 0 for silence",
    )


def check(args: argparse.Namespace) -> None:
    """Refuse a log whose package is missing or that cannot be written."""
    if args.progress:
        require_package("rich", "Progress bars")
    if args.track is not None:
        _check_tracker(args.track)
    if args.tensorboard_log is not None:
        require_package("tensorboard", "Logs for TensorBoard")
        check_writable("-tb", pathlib.Path(args.tensorboard_log))


def _check_tracker(service: str) -> None:
    if service not in TRACKERS:
        hint = did_you_mean(service, TRACKERS)
        raise CommandError(f"--track {service!r} is unknown.{hint} Allowed: {', '.join(TRACKERS)}.")
    if importlib.util.find_spec(service) is None:
        raise MissingDependencyError(
            f"--track {service} needs the package {service!r}, which is not installed: pip install {service}",
            name=service,
        )
