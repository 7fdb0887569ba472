"""Finds the subcommand that the first word names, and turns our errors into one line and an exit code."""

import argparse
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn, TextIO

from spi_plugins import __version__, plugins
from spi_plugins.cli.arguments import CommandError
from spi_plugins.errors import PluginWarning, SPIError

USAGE_ERROR = 2
INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """Reports an error in one line, without the usage, which is a screen long. No abbreviated options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def error(self, message: str) -> NoReturn:
        """Raise instead of exiting; ``main`` prints it."""
        raise CommandError(f"{message} (see '{self.prog} --help')")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the ``spi`` command.

    Args:
        argv: the words after ``spi``; those of the process by default.

    Returns:
        The exit code: 0 for success, 2 for a mistake in the command, 130 after Ctrl-C, else the subcommand's.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            return _run(words)
        except SPIError as error:
            sys.stderr.write(f"spi: error: {' '.join(str(error).split())}\n")
            return USAGE_ERROR
        except KeyboardInterrupt:
            sys.stderr.write("spi: interrupted\n")
            return INTERRUPTED
        except SystemExit as leaving:  # argparse after --help and --version
            return int(leaving.code or 0)


def _run(words: list[str]) -> int:
    parser = Parser(prog="spi", description="Safe policy improvement: train, evaluate, extend.")
    parser.add_argument("--version", action="version", version=f"spi-plugins {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    commands = plugins.registry("commands")
    chosen = words[0] if words and not words[0].startswith("-") else None
    if chosen is not None:
        commands.get(chosen)  # raises with the closest name if there is no such command
    for name in commands.names():
        summary = commands.get(name).summary.replace("%", "%%")
        # No help of its own: only the chosen command's target is imported, and adds its arguments.
        subparser = subparsers.add_parser(name, help=summary, description=summary)
        if name == chosen:
            subparser.set_defaults(run=commands.resolve(name)(subparser), words=words)
    args = parser.parse_args(words)
    return int(args.run(args) or 0)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    text = warnings.formatwarning(message, category, filename, lineno, line)
    if issubclass(category, PluginWarning):
        text = f"spi: warning: {message}\n"
    (file or sys.stderr).write(text)
