"""Files for ``-c``: those that runs write, rl_zoo3's, and short ones with the options' names."""

import argparse
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from spi_plugins import plugins
from spi_plugins.cli.arguments import CommandError
from spi_plugins.cli.declarations import read_all, read_declarations
from spi_plugins.cli.dispatch import Parser
from spi_plugins.cli.train_options import evaluation, hyperparameters
from spi_plugins.errors import SPIError
from spi_plugins.literals import read_value
from spi_plugins.plugins.registry import describe
from spi_plugins.presets.files import ATARI, DEFAULT, is_atari_game

# Keys that are called otherwise on the command line.
_OPTIONS = {
    "algorithm": "algo",
    "callbacks": "callback",
    "env_wrapper": "wrapper",
    "wrappers": "wrapper",
}
# What a run's own file also says.
_REPORTS = ("version", "resumed_from", "preset")
# Options that say which file is read, or what a file cannot know.
_NOT_IN_FILES = ("config", "help", "resume", "trust_imports")


def read_file(path: pathlib.Path, env: str | None) -> dict[str, Any]:
    """The entries of a file by key; of rl_zoo3's files, the section of ``env``, or the only one.

    Raises:
        CommandError: the file is missing, is not YAML, or lacks the section.
    """
    file = next((path / name for name in ("config.json", "config.yml") if (path / name).is_file()), path)
    stored = read_entries("-c", file)
    if not stored or not all(isinstance(section, dict) for section in stored.values()):
        return stored
    if "hyperparameters" in stored:
        return stored
    if env is None and len(stored) == 1:
        return {"env": next(iter(stored)), **next(iter(stored.values()))}
    name = "" if env is None else env if env in stored else env.rpartition(":")[2]
    if name not in stored and env is not None and is_atari_game(env) and ATARI in stored:
        # EnvPool's games have the wrapper and the stack built in.
        section = {
            key: value for key, value in stored[ATARI].items() if key not in ("env_wrapper", "frame_stack")
        }
        return {"env": env, **section}
    if env is not None and name not in stored and DEFAULT in stored:
        return {"env": env, **stored[DEFAULT]}
    if name not in stored:
        hint = plugins.did_you_mean(name, stored)
        asked = "it has several environments; choose one with --env" if env is None else f"it has no {env!r}"
        raise CommandError(f"-c {file}: {asked}.{hint} It has: {', '.join(stored)}.")
    return {"env": env, **stored[name]}


def read_entries(option: str, file: pathlib.Path) -> dict[str, Any]:
    """The entries of a file of YAML or JSON by key.

    Raises:
        CommandError: the file is missing, is not YAML, or has an invalid entry; the message names the option.
    """
    try:
        stored = yaml.load(file.read_text("utf-8"), _Loader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise CommandError(f"{option} {file} cannot be read: {describe(error)}") from error
    if not isinstance(stored, dict) or not all(isinstance(key, str) for key in stored):
        raise CommandError(f"{option} {file} must hold keys and values, such as 'n_timesteps: 100000'.")
    return stored


def is_of_run(entries: Mapping[str, Any]) -> bool:
    """Whether a run wrote the file rather than a user."""
    return "hyperparameters" in entries or "version" in entries


class Filler:
    """Gives arguments the values of files and presets where the words leave them open.

    Args:
        parser: of the words.
        args: what it read.
        others: keys to suggest besides those of options and hyperparameters.
    """

    def __init__(self, parser: Parser, args: argparse.Namespace, others: Sequence[str] = ()) -> None:
        self.parser, self.args, self.others = parser, args, others
        self.taken: dict[str, Any] = {}  # the options that were filled in, by key

    def fill(self, source: str, entries: Mapping[str, Any]) -> dict[str, Any]:
        """Take over the options among the entries; return the hyperparameters.

        Args:
            source: what the entries are read from, for messages.
            entries: values by key.

        Raises:
            CommandError: names the source and the key that is wrong.
        """
        values = dict(entries.get("hyperparameters") or {})
        for key, value in entries.items():
            option = _option(key)
            if key in (*_REPORTS, "hyperparameters") or value is None:
                continue
            action = self.parser.options.get(option)
            if action is None or action.default is argparse.SUPPRESS or action.dest in _NOT_IN_FILES:
                values[key] = value
                continue
            try:
                found = self.parser.parse_args([*_words(option, action, value)])
            except CommandError as error:
                raise CommandError(f"{source}: {key}: {error}") from error
            if getattr(self.args, action.dest) == action.default:
                setattr(self.args, action.dest, getattr(found, action.dest))
                self.taken[key] = value
        return {key: read_value(value) if isinstance(value, str) else value for key, value in values.items()}

    def check(self, source: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """The hyperparameters as the algorithm takes them.

        Raises:
            CommandError: names the source and the key that is wrong.
        """
        checked: dict[str, Any] = {}
        known = read_declarations(plugins.registry("algorithms").get(self.args.algo).target)
        for key, value in values.items():
            if known is not None and key not in known:
                hint = plugins.did_you_mean(key, {*known, *self._keys(), *self.others})
                raise CommandError(f"{source}: there is no key {key!r} for {self.args.algo}.{hint}")
            try:
                checked |= hyperparameters.check(self.args.algo, None, {key: value})
            except SPIError as error:
                raise CommandError(f"{source}: {key}: {error}") from error
        return checked

    def _keys(self) -> list[str]:
        """Keys that stand for options."""
        return [
            option[2:].replace("-", "_")
            for option, action in self.parser.options.items()
            if option.startswith("--") and action.help is not argparse.SUPPRESS
        ]


def to_words(
    parser: Parser, source: str, entries: Mapping[str, Any], *, others: Sequence[str] = ()
) -> list[str]:
    """The words of ``spi train`` that say the same as the entries of a file.

    Args:
        parser: of such words.
        source: what the entries are read from, for messages.
        entries: values by key, with the algorithm; ``preset`` is a preset's name, or ``False`` for none.
        others: keys that stand elsewhere in the file, for suggestions.

    Raises:
        SPIError: names the source and the key that is wrong.
    """
    filler = Filler(parser, parser.parse_args([]), others)
    values = filler.fill(source, entries)
    algorithm = filler.args.algo = filler.args.algo_option
    if algorithm is None:
        unknown = values.keys() - read_all().keys()
        hint = next(filter(None, (plugins.did_you_mean(key, others) for key in sorted(unknown))), "")
        raise CommandError(f"{source}: algo is required.{hint}")
    own = dict(values)
    evaluation.take_cost_limit(filler.args, own)
    filler.check(source, own)
    words = [algorithm]
    preset = entries.get("preset")
    if preset is not None:
        words.append(f"--preset={preset}" if preset else "--no-preset")
    for key, value in filler.taken.items():
        option = _option(key)
        if option != "--algo":
            words += _words(option, parser.options[option], value)
    return [*words, "-p", *to_pairs(values)] if values else words


def _option(key: str) -> str:
    return f"--{_OPTIONS.get(key, key).replace('_', '-')}"


def _words(option: str, action: argparse.Action, value: Any) -> Iterator[str]:
    """The words that would say the same on the command line."""
    if action.nargs == 0:
        if value is True:
            yield option
        elif f"--no-{option[2:]}" in action.option_strings:
            yield f"--no-{option[2:]}"
    elif action.metavar == "KEY=VALUE" and isinstance(value, Mapping):
        yield from (option, *to_pairs(value)) if value else ()
    elif action.nargs == "+":
        for entry in value if isinstance(value, list) else [value]:
            named = (
                entry.items()
                if isinstance(entry, Mapping)
                else [entry if isinstance(entry, list) else [entry, {}]]
            )
            for name, kwargs in named:
                yield from (option, str(name), *to_pairs(kwargs or {}))
    else:
        yield f"{option}={value}"


def to_pairs(values: Mapping[str, Any]) -> list[str]:
    """``key=value`` words that ``-p`` reads as these values."""
    return [f"{key}={value if isinstance(value, str) else repr(value)}" for key, value in values.items()]


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """YAML with the ordered dicts and tuples of the files that rl_zoo3 writes into its runs."""


def _ordered(loader: _Loader, node: yaml.Node) -> dict[str, Any]:
    (pairs,) = loader.construct_sequence(node, deep=True)
    return dict(pairs)


_Loader.add_constructor("tag:yaml.org,2002:python/object/apply:collections.OrderedDict", _ordered)
_Loader.add_constructor(
    "tag:yaml.org,2002:python/tuple", lambda loader, node: loader.construct_sequence(node, deep=True)
)
