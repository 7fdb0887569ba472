"""The arguments of ``spi train``. What does the work is imported when the command runs."""

import argparse
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from spi_plugins.cli import processes
from spi_plugins.cli.arguments import CommandError
from spi_plugins.cli.config_file import Filler, is_of_run, read_file
from spi_plugins.cli.dispatch import Parser
from spi_plugins.cli.env_recipe import check_recipe_imports
from spi_plugins.cli.requests import check_train
from spi_plugins.cli.seeds_folder import read_seeds
from spi_plugins.cli.train_options import environment, evaluation, hyperparameters, preset, run, tracking

# What may differ between the parts of a run.
_OF_EACH_PART = (
    "resume",
    "trust_imports",
    "progress",
    "verbose",
    "device",
    "coordinator",
    "processes",
    "process_id",
    "track",
    "track_project",
    "profile",
)


def configure(parser: Parser) -> Callable[[argparse.Namespace], int]:
    """Add the arguments of ``spi train``; their defaults are ``None`` because a resumed run has its own values."""
    add_options(parser)

    def help_after(args: argparse.Namespace) -> str:
        shown = Parser(prog=parser.prog, description=parser.description)
        add_options(shown, args.algo or args.algo_option)
        return shown.format_help()

    parser.help_after = help_after
    return functools.partial(train, parser)


def add_options(parser: Parser, algorithm: str | None = None) -> None:
    """Add all arguments, with the flags of an algorithm in the help if one is named."""
    parser.usage = "spi train ALGO --env ID [-n N] [options]\n       spi train --resume RUN [-n N]"
    parser.add_argument("algo", metavar="ALGO", nargs="?", help="see 'spi list algorithms'; also --algo ALGO")
    parser.add_argument("--algo", dest="algo_option", help=argparse.SUPPRESS)
    for group in (run, environment, evaluation, tracking, preset, processes):
        group.add(parser)
    hyperparameters.add(parser, algorithm)


def train(parser: Parser, args: argparse.Namespace) -> int:
    """Train, and return the exit code; mistakes are found before JAX and torch are imported."""
    stored = read_seeds(args.resume)
    if stored is not None:
        _refuse_changes(parser, args)
        args.config = stored.first().path
    told = _check(parser, args)
    if stored is None:
        check_train(args)
    from spi_plugins.algorithms.compile_notice import announcing_compilation

    sys.stdout.write(f"{told}\n" if told else "")
    with processes.joined(args), announcing_compilation():
        if args.seeds is None and stored is None:
            from spi_plugins.cli import training

            return training.train(args)
        from spi_plugins.cli.seeds import train_seeds

        return train_seeds(args, stored)


def read(words: Sequence[str]) -> argparse.Namespace:
    """The arguments that the words of a command come to, checked and completed as ``spi train`` does it.

    Args:
        words: those after ``spi``.

    Raises:
        SPIError: one of them is wrong or missing.
    """
    parser = new_parser()
    args: argparse.Namespace = parser.parse_args(words[1:])
    args.words = [*words]
    _check(parser, args)
    check_train(args)
    return args


@functools.cache
def new_parser() -> Parser:
    """A parser of the words after ``spi train``."""
    parser = Parser(prog="spi train")
    add_options(parser)
    return parser


def _check(parser: Parser, args: argparse.Namespace) -> str:
    told = complete(parser, args)
    for group in (environment, run, evaluation, tracking, processes):
        group.check(args)
    hyperparameters.check_devices(args)
    return told


def _check_imports(args: argparse.Namespace, taken: Mapping[str, Any]) -> None:
    """Refuse to import what a run's own file names, as ``--resume`` does: the run may be a stranger's.

    A file that a user wrote, or took from rl_zoo3, is the user's choice as much as the words are.
    """
    recipe = environment.recipe(args)
    if "wrappers" not in taken:
        recipe = recipe._replace(wrappers=())
    check_recipe_imports(recipe, named=None if "env" in taken else args.env)


def _refuse_changes(parser: Parser, args: argparse.Namespace) -> None:
    """Runs with several seeds go on as they are."""
    changed = [f"--{name.replace('_', '-')}" for name in args.flags]
    changed += [
        option
        for option, action in parser.options.items()
        if action.dest not in _OF_EACH_PART and getattr(args, action.dest, action.default) != action.default
    ]
    if changed:
        raise CommandError(f"{changed[0]} cannot be changed with --resume: {args.resume} has several seeds.")


def complete(parser: Parser, args: argparse.Namespace) -> str:
    """Add to the arguments what the file of ``-c`` or a preset says; ``args.values`` are then the hyperparameters.

    Returns:
        What the preset set, in a line; nothing without one.
    """
    if args.algo is not None and args.algo_option not in (None, args.algo):
        raise CommandError(f"ALGO is {args.algo!r}, and --algo is {args.algo_option!r}; give one of them.")
    args.algo = args.algo_option if args.algo is None else args.algo
    values, source, text = {}, f"-c {args.config}", ""
    filler = Filler(parser, args)
    if args.config is not None:
        entries = read_file(args.config, args.env)
        values = filler.fill(source, entries)
        if is_of_run(entries) and not args.trust_imports:
            _check_imports(args, filler.taken)
        args.algo = args.algo_option if args.algo is None else args.algo
    words = hyperparameters.read(args)
    if args.algo is not None:
        evaluation.take_cost_limit(args, words, values)
        values, words = filler.check(source, values), hyperparameters.check(args.algo, args.policy, words)
    values |= words
    chosen = preset.choose(args)
    args.preset = None
    if chosen is not None:
        source, args.preset, filler.taken = f"The preset {chosen.env} of {args.algo}", chosen.env, {}
        found = filler.check(source, filler.fill(source, chosen.entries))
        taken = filler.taken | {key: value for key, value in found.items() if key not in values}
        values, text = found | values, preset.line(chosen, taken) if taken else ""
    args.values = values
    return text
