"""Checks of arguments; the errors name them."""

import math
import operator
from numbers import Real
from typing import Any

_HOLDS = {"above": operator.gt, "at least": operator.ge, "below": operator.lt, "at most": operator.le}


def real(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
) -> float:
    """A finite number within bounds, as a float; else a ``TypeError`` or ``ValueError``."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r} ({type(value).__name__}).")
    number = float(value)
    bounds = {"above": above, "at least": at_least, "below": below, "at most": at_most}
    asked = {word: bound for word, bound in bounds.items() if bound is not None}
    if not math.isfinite(number) or not all(_HOLDS[word](number, bound) for word, bound in asked.items()):
        words = " and ".join(["finite", *(f"{word} {bound:g}" for word, bound in asked.items())])
        raise ValueError(f"{name} must be {words}, got {value!r}.")
    return number


def whole(name: str, value: Any, *, at_least: int) -> int:
    """An integer of at least ``at_least``; else a ``TypeError`` or ``ValueError``."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, got {value!r} ({type(value).__name__}).")
    number = int(value)
    if number < at_least:
        raise ValueError(f"{name} must be at least {at_least}, got {value!r}.")
    return number


def boolean(name: str, value: Any) -> bool:
    """A boolean; else a ``TypeError``, such as for the string ``"False"``."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r} ({type(value).__name__}).")
    return value
