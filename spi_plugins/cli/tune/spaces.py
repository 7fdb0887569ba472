"""Search spaces: what is read from files and words, checked against the declarations, and drawn from by Optuna."""

import functools
import importlib.resources
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import yaml

from spi_plugins import plugins
from spi_plugins.cli.arguments import CommandError
from spi_plugins.cli.declarations import read_declarations
from spi_plugins.hyperparameters import Hyperparameter
from spi_plugins.literals import read_value

FILE = importlib.resources.files("spi_plugins.cli.tune") / "spaces.yml"
_LIKE = "like"
_RANGE = ("low", "high", "log", "step")


class Choices(NamedTuple):
    """A few values; lists and dicts among them are drawn by their text, because storages keep nothing else."""

    values: Sequence[Any]


class Interval(NamedTuple):
    """A range of numbers, both ends included."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False  # integers only


Space = Mapping[str, Choices | Interval]


class Trial(Protocol):
    """What draws: ``optuna.Trial``."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """One of some values."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: Any = None, log: bool = False
    ) -> float:
        """A number."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """An integer."""


def read_space(algorithm: str, changes: Mapping[str, Any], fixed: Mapping[str, Any]) -> Space:
    """The space of an algorithm.

    Args:
        algorithm: its registered name.
        changes: entries that the user adds or changes.
        fixed: arguments that the user sets, which are not searched.

    Raises:
        CommandError: there is nothing to search, or an entry does not fit the algorithm.
    """
    target = plugins.registry("algorithms").get(algorithm).target
    known = read_declarations(target)
    entries = {**_stored().get(algorithm, {}), **changes}
    space = {
        name: _dimension(algorithm, known, name, entry)
        for name, entry in entries.items()
        if name not in fixed
    }
    if not space:
        raise CommandError(
            f"{algorithm} has no search space of its own: give one, as in --space learning_rate=[1e-4,3e-4]."
        )
    return space


def draw(trial: Trial, space: Space) -> dict[str, Any]:
    """A point of the space: arguments by name, those with a dot in their names still apart."""
    return {name: _draw(trial, name, each) for name, each in space.items()}


def merge(arguments: Mapping[str, Any], drawn: Mapping[str, Any]) -> dict[str, Any]:
    """The drawn arguments; those with a dot in their names join the dicts that ``arguments`` already hold."""
    merged: dict[str, Any] = {}
    for name, value in drawn.items():
        outer, dot, inner = name.partition(".")
        if dot:
            merged[outer] = {**(arguments.get(outer) or {}), **merged.get(outer, {}), inner: value}
        else:
            merged[outer] = value
    return merged


@functools.cache
def _stored() -> dict[str, dict[str, Any]]:
    """The file's spaces, with what ``like`` takes over."""
    spaces: dict[str, dict[str, Any]] = {}
    for algorithm, entries in yaml.safe_load(FILE.read_text(encoding="utf-8")).items():
        own = {name: entry for name, entry in entries.items() if name != _LIKE}
        spaces[algorithm] = {**(spaces[entries[_LIKE]] if _LIKE in entries else {}), **own}
    return spaces


def _dimension(
    algorithm: str, known: Mapping[str, Hyperparameter] | None, name: str, entry: Any
) -> Choices | Interval:
    outer = name.partition(".")[0]
    if known is not None and outer not in known:
        hint = plugins.did_you_mean(outer, known)
        raise CommandError(f"--space {name}: {algorithm} has no argument {outer!r}.{hint}")
    declared = known[name] if known is not None and name in known else None
    found = _read(name, entry, declared)
    if declared is not None:
        for value in found.values if isinstance(found, Choices) else (found.low, found.high):
            try:
                declared.check(value)
            except ValueError as error:
                raise CommandError(f"--space {name}: {error}") from error
    return found


def _read(name: str, entry: Any, declared: Hyperparameter | None) -> Choices | Interval:
    if entry is None and declared is not None and declared.choices:
        return Choices(declared.choices)
    if isinstance(entry, list) and entry:
        return Choices(entry)
    if isinstance(entry, Mapping) and {"low", "high"} <= entry.keys() <= set(_RANGE):
        values = {key: read_value(each) if isinstance(each, str) else each for key, each in entry.items()}
        whole = _is_whole(values, declared)
        found = Interval(**{**values, "whole": whole})
        numbers = [each for each in (found.low, found.high, found.step) if each is not None]
        ordered = all(type(each) in (int, float) for each in numbers) and found.low < found.high
        if ordered and not (found.log and (found.low <= 0 or found.step is not None)):
            return found
    raise CommandError(
        f"--space {name} must be a list of values, or low and high with log=True or step, such as "
        f"dict(low=1e-5, high=1e-2, log=True); got {entry!r}."
    )


def _is_whole(values: Mapping[str, Any], declared: Hyperparameter | None) -> bool:
    if declared is None:
        return all(type(value) is int for key, value in values.items() if key != "log")
    return int in declared.alternatives and float not in declared.alternatives


def _draw(trial: Trial, name: str, space: Choices | Interval) -> Any:
    if isinstance(space, Choices):
        texts = [_text(value) for value in space.values]
        return space.values[texts.index(trial.suggest_categorical(name, texts))]
    if space.whole:
        step = 1 if space.step is None else int(space.step)
        return trial.suggest_int(name, int(space.low), int(space.high), step=step, log=space.log)
    return trial.suggest_float(name, space.low, space.high, step=space.step, log=space.log)


def _text(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)
