"""Pytrees as named arrays, the form in which files hold them, and back."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spi_plugins.errors import ModelFileError
from spi_plugins.types import PyTree


def flatten_arrays(tree: PyTree) -> dict[str, np.ndarray[Any, Any]]:
    """The leaves of a pytree by path; typed PRNG keys become their raw words."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): _to_numpy(leaf) for path, leaf in leaves}


def restore_arrays(target: PyTree, arrays: dict[str, np.ndarray[Any, Any]], *, what: str) -> PyTree:
    """A pytree like ``target`` made of the leaves that ``flatten_arrays`` named; ``what`` starts the error message.

    Raises:
        ModelFileError: arrays are missing, unexpected, of another shape, or not numbers; the first few are listed.
    """
    leaves, treedef = jax.tree_util.tree_flatten_with_path(target)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
    problems = [f"missing {name}" for name in names if name not in arrays]
    problems += [f"unexpected {name}" for name in arrays if name not in set(names)]
    for name, (_, leaf) in zip(names, leaves, strict=True):
        if name in arrays and arrays[name].dtype.kind not in "biuf":
            problems.append(f"{name} holds {arrays[name].dtype}, expected numbers")
        elif name in arrays and arrays[name].shape != _to_numpy_shape(leaf):
            problems.append(f"{name} has shape {arrays[name].shape}, expected {_to_numpy_shape(leaf)}")
    if problems:
        shown = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
        raise ModelFileError(f"{what} do not fit this model: {shown}.")
    restored = [_from_numpy(arrays[name], leaf) for name, (_, leaf) in zip(names, leaves, strict=True)]
    return jax.tree_util.tree_unflatten(treedef, restored)


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _to_numpy(leaf: Any) -> np.ndarray[Any, Any]:
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _to_numpy_shape(leaf: Any) -> tuple[int, ...]:
    return jax.eval_shape(jax.random.key_data, leaf).shape if _is_key(leaf) else np.shape(leaf)


def _from_numpy(array: np.ndarray[Any, Any], like: Any) -> Any:
    if _is_key(like):
        return jax.random.wrap_key_data(jnp.array(array, np.uint32), impl=jax.random.key_impl(like))
    if isinstance(like, np.ndarray):
        return np.array(array, like.dtype)
    # Copy: on the CPU, JAX may alias the NumPy buffer, and donation would then hand it to XLA.
    return jnp.array(array, dtype=like.dtype)
