"""Checks of what users pass: each error names the argument, what came and what is allowed."""

import math
from typing import Any

import numpy as np

from spi_plugins.errors import NotFiniteError


def _plain(bound: float) -> str:
    """A bound as people write it: 1048576, not 1.04858e+06."""
    if isinstance(bound, int) or (bound.is_integer() and abs(bound) < 1e16):
        return str(int(bound))
    return repr(float(bound))


def check_integer(name: str, value: Any, *, low: float, high: float = math.inf) -> None:
    """Refuse anything but an integer between the bounds."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= value <= high:
        bounds = f"at least {_plain(low)}" + (f" and at most {_plain(high)}" if math.isfinite(high) else "")
        raise ValueError(f"{name} must be an integer of {bounds}, got {value!r}.")


def as_integer(name: str, value: Any, *, low: float, high: float = math.inf) -> int:
    """An integer between the bounds; a float without a fraction, such as 1e5, counts as one."""
    if isinstance(value, float | np.floating) and math.isfinite(value) and value == int(value):
        value = int(value)
    check_integer(name, value, low=low, high=high)
    return int(value)


def check_number(
    name: str,
    value: Any,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    """Refuse anything but a finite number between the bounds; an open bound is not allowed itself."""
    ok = not isinstance(value, bool) and isinstance(value, int | float | np.number) and math.isfinite(value)
    if ok and low <= value <= high and not (open_low and value == low) and not (open_high and value == high):
        return
    allowed = bounds(low, high, open_low=open_low, open_high=open_high)
    raise ValueError(
        f"{name} must be {f'a number {allowed}' if allowed else 'a finite number'}, got {value!r}."
    )


def bounds(low: float, high: float, *, open_low: bool = False, open_high: bool = False) -> str:
    """The bounds of a number in words; empty if it has none."""
    least = [f"{'above' if open_low else 'at least'} {_plain(low)}"] if math.isfinite(low) else []
    most = [f"{'below' if open_high else 'at most'} {_plain(high)}"] if math.isfinite(high) else []
    return " and ".join(least + most)


def check_choice(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """Refuse anything but one of a few values; 1 does not count as ``True``."""
    if not any(isinstance(value, type(one)) and value == one for one in allowed):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}.")


def check_widths(name: str, value: Any) -> None:
    """Refuse anything but a sequence of at least one integer of at least 1."""
    widths = value if isinstance(value, list | tuple) else ()
    if not widths or any(isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1 for n in widths):
        raise ValueError(f"{name} must be a tuple of at least one width, each at least 1, got {value!r}.")


def check_finite(name: str, array: np.ndarray[Any, Any]) -> None:
    """Refuse NaN and infinity, naming the first row (environment) that holds one."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row = int(np.argmin(np.isfinite(array).reshape(len(array), -1).all(axis=1)))
        raise NotFiniteError(f"{name} of environment {row} is not finite: {array[row]}.")
