"""How a conformance check fails: with a sentence about what the plugin must do and what it did."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


class ConformanceError(AssertionError):
    """A plugin breaks the contract of its interface; the message says what is required and what it did."""


def require(condition: Any, sentence: str) -> None:
    """Raise a ``ConformanceError`` with ``sentence`` unless ``condition`` holds."""
    if not condition:
        raise ConformanceError(sentence)


def require_equal(actual: Any, expected: Any, sentence: str) -> None:
    """Raise unless two arrays agree bit for bit in shape and values, NaN included; both are shown."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    if actual.shape != expected.shape or not np.array_equal(
        actual, expected, equal_nan=actual.dtype.kind == "f"
    ):
        raise ConformanceError(f"{sentence} Got {actual} where {expected} was expected.")


def require_made(thing: Any, cls: type[Any]) -> None:
    """Raise unless a factory made an instance of ``cls``."""
    require(isinstance(thing, cls), f"The factory must return a {cls.__name__}, got {type(thing).__name__}.")


def require_array(name: str, value: Any, dtype: Any, shape: tuple[int, ...]) -> None:
    """Raise unless a value is an array of this type and shape."""
    got = getattr(value, "dtype", type(value).__name__), getattr(value, "shape", None)
    sentence = f"{name} must be {np.dtype(dtype)} of shape {shape}, got {got[0]} of shape {got[1]}."
    require(got == (np.dtype(dtype), shape), sentence)


def require_same_leaves(actual: Any, expected: Any, sentence: str) -> None:
    """``require_equal`` for each leaf of two pytrees; random keys are compared by their data."""
    for pair in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        left, right = (
            jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
            for leaf in pair
        )
        require_equal(left, right, sentence)


def layout(tree: Any) -> Any:
    """The structure of a pytree, and the type and shape of each leaf."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, [f"{jnp.result_type(leaf)}{list(jnp.shape(leaf))}" for leaf in leaves]


def named(thing: Any) -> str:
    """What messages call a class, a function or an object."""
    return getattr(thing, "__name__", None) or type(thing).__name__
