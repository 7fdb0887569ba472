"""The scalars of an update as one array: one transfer from the device instead of twenty."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from spi_plugins.agents.on_policy import OnPolicyAgent
from spi_plugins.agents.planning import PlanningAgent
from spi_plugins.types import PyTree


@functools.partial(jax.tree_util.register_dataclass, data_fields=["values"], meta_fields=["structure"])
@dataclasses.dataclass(frozen=True)
class Packed:
    """A tree of scalars that passes through ``jit`` as one array."""

    values: Float[Array, "*seeds N"]  # the leaves, float32
    structure: Any  # the tree's, which ``jit`` keeps apart from the arrays

    def unpack(self) -> PyTree:
        """Fetch the array and rebuild the tree, with NumPy scalars as leaves."""
        return jax.tree.unflatten(self.structure, list(np.asarray(self.values)))


def pack(tree: PyTree) -> Packed:
    """Stack the leaves of a tree of scalars."""
    leaves, structure = jax.tree.flatten(tree)
    return Packed(jnp.stack([jnp.asarray(leaf, jnp.float32) for leaf in leaves]), structure)


def update_packed(agent: OnPolicyAgent | PlanningAgent, state: Any, *inputs: Any) -> tuple[Any, Packed]:
    """``agent.update`` with its metrics packed. Jit with ``state`` donated."""
    state, metrics = agent.update(state, *inputs)
    return state, pack(metrics)
