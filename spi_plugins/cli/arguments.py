"""What several commands share: ``key=value`` pairs with Python values, numbers, JSON, and errors."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from spi_plugins.errors import SPIError
from spi_plugins.literals import read_value


class CommandError(SPIError):
    """The command asks for something that cannot be done; one line says what and why."""


class RunError(SPIError):
    """The command was fine, but the run failed: an environment, a worker, a disk or a number gave out."""


class Arguments(Protocol):
    """A parser, or a group of its arguments."""

    def add_argument(self, *name_or_flags: str, **kwargs: Any) -> Any:
        """Add one."""


def add_pairs(group: Arguments, *options: str, help: str, **more: Any) -> None:
    """Add an option that takes ``key=value`` words and may be repeated; read it with ``parse_pairs``."""
    group.add_argument(*options, nargs="+", action="extend", metavar="KEY=VALUE", help=help, **more)


def parse_pairs(option: str, pairs: Sequence[str] | None) -> dict[str, Any]:
    """Read the ``key=value`` words of an option, or ``key:value`` as in rl_zoo3.

    Raises:
        CommandError: a word is not such a pair, or a key comes twice.
    """
    values: dict[str, Any] = {}
    for pair in pairs or ():
        match = re.fullmatch(r"([^\W\d][\w.]*)[=:](.*)", pair, re.DOTALL)
        if match is None:
            raise CommandError(f"{option} takes key=value pairs such as gamma=0.99, got {pair!r}.")
        key, text = match.groups()
        if key in values:
            raise CommandError(f"{option} has {key!r} twice.")
        values[key] = read_value(text)
    return values


def positive(text: str) -> int:
    """An integer of at least 1, also as ``1e6`` or ``1_000_000``."""
    value = whole(text)
    if value < 1:
        raise ValueError(text)
    return value


def whole(text: str) -> int:
    """An integer of at least 0, also as ``1e6`` or ``1_000_000``."""
    try:
        value = int(text)
    except ValueError:
        number = float(text)
        if not number.is_integer():  # NaN and infinity are not
            raise
        value = int(number)
    if not 0 <= value < 2**63:
        raise ValueError(text)
    return value


def seed(text: str) -> int:
    """A seed that every library takes: NumPy's old generator allows 32 bits."""
    value = whole(text)
    if value >= 2**32:
        raise ValueError(text)
    return value


def copies(text: str) -> int:
    """A number of environments that fits a machine."""
    value = positive(text)
    if value > 1_000_000:
        raise ValueError(text)
    return value


# argparse uses these names in its messages.
seed.__name__ = "integer from 0 to 4294967295"
copies.__name__ = "integer from 1 to 1000000"
positive.__name__ = "positive integer"
whole.__name__ = "integer of at least 0"


def to_json(value: Mapping[str, Any] | Sequence[Any]) -> str:
    """JSON as commands print and store it."""
    return json.dumps(value, indent=2, default=str)
