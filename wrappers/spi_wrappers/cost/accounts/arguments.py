"""Checks of arguments; the errors name them."""

import math
import operator
from numbers import Real
from typing import Any


def real(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
) -> float:
    """A finite number within bounds, as a float.

    Raises:
        TypeError: ``value`` is not a number, or is a boolean.
        ValueError: it is not finite or out of bounds.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r} ({type(value).__name__}).")
    number = float(value)
    asked = [
        (word, bound, holds(number, bound))
        for word, bound, holds in (
            ("above", above, operator.gt),
            ("at least", at_least, operator.ge),
            ("below", below, operator.lt),
            ("at most", at_most, operator.le),
        )
        if bound is not None
    ]
    if not math.isfinite(number) or not all(held for _, _, held in asked):
        words = " and ".join(f"{word} {bound:g}" for word, bound, _ in asked)
        raise ValueError(f"{name} must be finite{' and ' + words if words else ''}, got {value!r}.")
    return number


def whole(name: str, value: Any, *, at_least: int) -> int:
    """An integer of at least ``at_least``.

    Raises:
        ValueError: it is too small.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, got {value!r} ({type(value).__name__}).")
    number = int(value)
    if number < at_least:
        raise ValueError(f"{name} must be at least {at_least}, got {value!r}.")
    return number


def boolean(name: str, value: Any) -> bool:
    """A boolean.

    Raises:
        TypeError: ``value`` has another type, such as the string ``"False"``.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r} ({type(value).__name__}).")
    return value
