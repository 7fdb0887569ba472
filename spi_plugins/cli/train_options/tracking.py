"""What is shown and logged."""

import argparse
import pathlib

from spi_plugins.cli.requests import check_writable, require_package


def add(parser: argparse.ArgumentParser) -> None:
    """Add the group."""
    group = parser.add_argument_group("logs")
    group.add_argument("-P", "--progress", action="store_true", help="show a progress bar")
    group.add_argument("-tb", "--tensorboard-log", metavar="DIR", help="also log for TensorBoard")
    group.add_argument("-v", "--verbose", action="count", default=0, help="print the log while training")


def check(args: argparse.Namespace) -> None:
    """Refuse a log whose package is missing or that cannot be written."""
    if args.progress:
        require_package("rich", "Progress bars")
    if args.tensorboard_log is not None:
        require_package("tensorboard", "Logs for TensorBoard")
        check_writable("-tb", pathlib.Path(args.tensorboard_log))
