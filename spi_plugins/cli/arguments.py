"""Arguments that several commands share: ``key=value`` pairs with Python values."""

import ast
import json
from collections.abc import Mapping, Sequence
from typing import Any

from spi_plugins.errors import SPIError


class CommandError(SPIError):
    """The command line asks for something that cannot be done; one line says what and why."""


def parse_pairs(option: str, pairs: Sequence[str]) -> dict[str, Any]:
    """Read ``key=value`` words. A value is a Python literal, or else a string.

    Args:
        option: the option that they came with, for messages.
        pairs: for example ``["gamma=0.99", "net_arch=[64, 64]", "name=abc"]``.

    Raises:
        CommandError: a word has no ``=``, its key is no identifier, or a key comes twice.
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.isidentifier():
            raise CommandError(f"{option} takes key=value pairs such as gamma=0.99, got {pair!r}.")
        if key in values:
            raise CommandError(f"{option} has {key!r} twice.")
        values[key] = _literal(text)
    return values


def positive(text: str) -> int:
    """An integer of at least 1, also as ``1e6`` or ``1_000_000``."""
    value = whole(text)
    if value < 1:
        raise ValueError(text)
    return value


def whole(text: str) -> int:
    """An integer of at least 0, also as ``1e6`` or ``1_000_000``."""
    value = float(text)
    if value < 0 or value != int(value):
        raise ValueError(text)
    return int(value)


# argparse names the type of a malformed argument by these.
positive.__name__ = "positive integer"
whole.__name__ = "integer of at least 0"


def to_json(value: Mapping[str, Any] | Sequence[Any]) -> str:
    """JSON as commands print and store it."""
    return json.dumps(value, indent=2, default=str)


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
