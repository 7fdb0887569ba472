"""Several devices: what is divided among them, said inside of programs; on one device, none of it does anything."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec, get_abstract_mesh, use_abstract_mesh
from jaxtyping import Array, Int

from spi_plugins.types import PyTree

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

AXIS = "copies"  # the mesh's only one
_WHOLE = PartitionSpec()  # type: ignore[no-untyped-call]


def place(mesh: Mesh, *, divided: bool) -> NamedSharding:
    """Where a mesh holds an array whose first axis is divided, or one that every device has whole."""
    return NamedSharding(mesh, _divided(0) if divided else _WHOLE)


def on_mesh(function: F, mesh: Mesh) -> F:
    """A function to be compiled for a mesh, in which the other functions of this module apply to it."""

    @functools.wraps(function)
    def meshed(*args: Any, **kwargs: Any) -> Any:
        with use_abstract_mesh(mesh.abstract_mesh):
            return function(*args, **kwargs)

    return meshed  # type: ignore[return-value]


def in_use() -> bool:
    """Whether the program is for several devices."""
    return not get_abstract_mesh().empty


def divided(tree: T, axis: int = 0) -> T:
    """Divide that axis of every array among the devices, where their number divides its length."""
    if not in_use():
        return tree
    number, spec = get_abstract_mesh().size, _divided(axis)
    result: T = jax.tree.map(lambda x: x if x.shape[axis] % number else _constrained(x, spec), tree)
    return result


def whole(tree: T) -> T:
    """Give every device all of every array."""
    return jax.tree.map(lambda x: _constrained(x, _WHOLE), tree) if in_use() else tree


def apart(function: Callable[..., T], shared: PyTree, *parts: PyTree) -> T:
    """``function(shared, *parts)``, of which each device computes what belongs to its part of the first axes.

    All results must have that axis, too, and must not depend on other parts.
    """
    if not in_use():
        return function(shared, *parts)
    specs = (_WHOLE, *[_divided(0)] * len(parts))
    local = jax.shard_map(function, in_specs=specs, out_specs=_divided(0), check_vma=False)
    result: T = local(shared, *parts)
    return result


def joined(first: T, second: T) -> T:
    """The rows of both; on each device, those that it has of the first and then those of the second."""

    def own(_: None, first: T, second: T) -> T:
        both: T = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, second)
        return both

    return apart(own, None, first, second)


def halves(x: Array) -> tuple[Array, Array]:
    """What ``joined`` has joined."""
    return apart(lambda _, x: (x[: len(x) // 2], x[len(x) // 2 :]), None, x)


def take(tree: T, copy: Int[Array, " N"], entry: Int[Array, "H N"]) -> T:
    """Entries ``[H, N, ...]`` of arrays ``[B, C, ...]``, by copy and place in its row.

    Where ``B`` is divided, each device contributes the entries that it holds; the arrays stay where they are.
    """

    def entries(tree: T, copy: Array) -> T:
        found: T = jax.tree.map(lambda x: x[copy[None], entry], tree)
        return found

    def contributed(tree: T) -> T:
        n_own = len(jax.tree.leaves(tree)[0])
        local = copy - jax.lax.axis_index(AXIS) * n_own
        is_own = (local >= 0) & (local < n_own)

        def summed(x: Array) -> Array:
            ours = jnp.where(is_own.reshape(1, -1, *[1] * (x.ndim - 2)), x, jnp.zeros((), x.dtype))
            total: Array = jax.lax.psum(ours.astype(jnp.uint8) if x.dtype == bool else ours, AXIS)  # type: ignore[no-untyped-call]
            return total.astype(x.dtype)

        found: T = jax.tree.map(summed, entries(tree, jnp.where(is_own, local, 0)))
        return found

    if not in_use():
        return entries(tree, copy)
    result: T = jax.shard_map(contributed, in_specs=_divided(0), out_specs=_WHOLE, check_vma=False)(tree)
    return result


def _divided(axis: int) -> PartitionSpec:
    return PartitionSpec(*[None] * axis, AXIS)  # type: ignore[no-untyped-call]


def _constrained(x: PyTree, spec: PartitionSpec) -> PyTree:
    return jax.lax.with_sharding_constraint(x, spec)  # type: ignore[no-untyped-call]
