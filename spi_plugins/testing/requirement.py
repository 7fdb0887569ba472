"""How a conformance check fails: with a sentence about what the plugin must do and what it did."""

from typing import Any

import numpy as np


class ConformanceError(AssertionError):
    """A plugin breaks the contract of its interface; the message says what is required and what it did."""


def require(condition: Any, sentence: str) -> None:
    """Raise unless ``condition`` holds.

    Raises:
        ConformanceError: with ``sentence``.
    """
    if not condition:
        raise ConformanceError(sentence)


def require_equal(actual: Any, expected: Any, sentence: str) -> None:
    """Raise unless two arrays agree bit for bit in shape and values, NaN included.

    Raises:
        ConformanceError: with ``sentence`` and both values.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    if actual.shape != expected.shape or not np.array_equal(
        actual, expected, equal_nan=actual.dtype.kind == "f"
    ):
        raise ConformanceError(f"{sentence} Got {actual} where {expected} was expected.")


def named(thing: Any) -> str:
    """What messages call a class, a function or an object."""
    return getattr(thing, "__name__", None) or type(thing).__name__
