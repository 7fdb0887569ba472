"""Runs the subcommand that the first word names, and turns expected errors into one line and an exit code."""

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TextIO

from spi_plugins import __version__, plugins
from spi_plugins.cli.arguments import CommandError, RunError
from spi_plugins.errors import PluginWarning, SPIError

USAGE_ERROR = 2
RUN_FAILED = 3
INTERRUPTED = 130
OUTPUT_CLOSED = 141  # what shells report for a program that SIGPIPE ended


class Parser(argparse.ArgumentParser):
    """Reports errors in one line, without the usage, which fills a screen. No abbreviated options.

    Attributes:
        help_after: makes the help out of what the words before ``--help`` say; ``None`` for the usual one.
    """

    help_after: Callable[[argparse.Namespace], str] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, "add_help": False, **kwargs})
        self.add_argument("-h", "--help", action=_Help, help="show this")

    @property
    def options(self) -> dict[str, argparse.Action]:
        """The options by each of their spellings."""
        return self._option_string_actions

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Read words, and name the closest option if one is unknown."""
        found, rest = self.parse_known_args(args, namespace)
        if rest:
            parser = getattr(found, "parser", self)
            unknown = next((word.partition("=")[0] for word in rest if word.startswith("-")), "")
            spelled = [option for option in parser.options if "_" not in option]
            hint = plugins.did_you_mean(unknown, spelled) if unknown else ""
            parser.error(f"unrecognized arguments: {' '.join(rest)}.{hint}")
        return found

    def error(self, message: str) -> NoReturn:
        """Raise instead of exiting; ``main`` prints the message."""
        raise CommandError(f"{message} (see '{self.prog} --help')")


class _Help(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: Any = None
    ) -> None:
        after = parser.help_after if isinstance(parser, Parser) else None
        sys.stdout.write(parser.format_help() if after is None else after(namespace))
        parser.exit()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the ``spi`` command with the words after ``spi``, by default those of the process.

    Returns:
        The exit code: 0 for success, 2 for a mistake in the command, 3 for a run that failed, 130 after Ctrl-C, or
        the subcommand's own.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run_and_report(words)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python writes again when it exits
        return OUTPUT_CLOSED


def _run_and_report(words: list[str]) -> int:
    """Run the command, and print an expected error as one line."""
    with warnings.catch_warnings():
        warnings.filterwarnings("default", category=DeprecationWarning, module="spi_plugins")
        warnings.showwarning = _show_warning
        try:
            return _exit_code(_run(words))
        except SPIError as error:
            sys.stderr.write(f"spi: error: {' '.join(str(error).split())}\n")
            return RUN_FAILED if isinstance(error, RunError) else USAGE_ERROR
        except KeyboardInterrupt:
            sys.stderr.write("spi: interrupted\n")
            return INTERRUPTED
        except SystemExit as leaving:  # argparse after --help and --version, and commands of plugins
            return _exit_code(leaving.code)


def _run(words: list[str]) -> Any:
    parser = Parser(prog="spi", description="Safe policy improvement: train, evaluate, extend.")
    parser.add_argument("--version", action="version", version=f"spi-plugins {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    try:
        commands = plugins.registry("commands")
    except ValueError as error:  # a malformed environment variable
        raise CommandError(str(error)) from error
    chosen = words[0] if words and not words[0].startswith("-") else None
    if chosen is not None:
        commands.get(chosen)  # raises with the closest name if there is no such command
    for name in commands.names():
        summary = commands.peek(name).summary.replace("%", "%%")
        # Only the chosen command is imported and adds its arguments; the others are listed by their summaries.
        subparser = subparsers.add_parser(name, help=summary, description=summary)
        if name == chosen:
            subparser.set_defaults(run=commands.resolve(name)(subparser), words=words, parser=subparser)
    args = parser.parse_args(words)
    if not callable(args.run):
        owner = commands.get(args.words[0]).owner
        raise CommandError(
            f"The command {chosen!r} of {owner} must return a function to run, got {args.run!r}."
        )
    return args.run(args)


def _exit_code(result: Any) -> int:
    """What ``sys.exit`` would make of a result: text goes to stderr and counts as 1."""
    if result is None:
        return 0
    if isinstance(result, int):
        return int(result)
    sys.stderr.write(f"{result}\n")
    return 1


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    text = warnings.formatwarning(message, category, filename, lineno, line)
    if issubclass(category, PluginWarning | DeprecationWarning):
        text = f"spi: warning: {message}\n"
    (file or sys.stderr).write(text)
