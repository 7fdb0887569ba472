"""Parameters as a few long arrays: an optimizer's step on seventy short ones is most of what XLA would compile."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from spi_plugins.types import PyTree

# Entries from which an array stays on its own: copying it in every gradient step would cost more than it saves.
_LARGE = 2**16


class Compact(NamedTuple):
    """The leaves of a tree."""

    short: Float[Array, " P"]  # the short ones, one after the other
    long: tuple[Array, ...]


def _is_short(leaf: PyTree) -> bool:
    return bool(math.prod(leaf.shape) < _LARGE and leaf.dtype == jnp.float32)


def compact(tree: PyTree) -> Compact:
    """Join the short leaves of a tree."""
    leaves = jax.tree.leaves(tree)
    short = [leaf.ravel() for leaf in leaves if _is_short(leaf)]
    joined = jnp.concatenate(short) if short else jnp.zeros(0)
    return Compact(joined, tuple(leaf for leaf in leaves if not _is_short(leaf)))


def expand(joined: Compact, like: PyTree) -> PyTree:
    """The tree again; ``like`` has its structure and shapes."""
    leaves, structure = jax.tree.flatten(like)
    found, long, start = [], iter(joined.long), 0
    for leaf in leaves:
        if _is_short(leaf):
            end = start + math.prod(leaf.shape)
            found.append(joined.short[start:end].reshape(leaf.shape))
            start = end
        else:
            found.append(next(long))
    return jax.tree.unflatten(structure, found)
