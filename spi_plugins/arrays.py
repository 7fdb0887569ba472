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


def local(tree: PyTree) -> PyTree:
    """The same arrays, each whole in this process; all processes that share one must call this."""
    return jax.tree.map(_local, tree)


def _local(leaf: Any) -> Any:
    if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
        return leaf
    if _is_key(leaf):
        return jax.random.wrap_key_data(_local(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
    if leaf.is_fully_replicated:
        return np.asarray(leaf)
    from jax.experimental import multihost_utils  # only several processes need it

    return multihost_utils.process_allgather(leaf, tiled=True)


def check_arrays(
    target: PyTree, arrays: dict[str, np.ndarray[Any, Any]], *, what: str, finite: bool = True
) -> None:
    """Check that ``restore_arrays`` can make a pytree like ``target`` of ``arrays``.

    Args:
        target: arrays, or their shapes and types.
        arrays: by name.
        what: they are, to start the error message.
        finite: refuse NaN and infinity.

    Raises:
        ModelFileError: arrays are missing, unexpected, of another shape or type, or not finite; the first few are
            listed.
    """
    leaves = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_flatten_with_path(target)[0]
    }
    problems = [f"missing {name}" for name in leaves if name not in arrays]
    problems += [f"unexpected {name}" for name in arrays if name not in leaves]
    for name in [name for name in leaves if name in arrays]:
        problem = _problem(arrays[name], leaves[name], finite)
        problems += [f"{name} {problem}"] if problem else []
    if problems:
        shown = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
        raise ModelFileError(f"{what} do not fit this model: {shown}.")


def restore_arrays(
    target: PyTree, arrays: dict[str, np.ndarray[Any, Any]], *, what: str, finite: bool = True
) -> PyTree:
    """A pytree like ``target`` made of the arrays that ``flatten_arrays`` named; see ``check_arrays`` for the rest."""
    check_arrays(target, arrays, what=what, finite=finite)
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: _from_numpy(arrays[jax.tree_util.keystr(path, simple=True, separator="/")], leaf),
        target,
    )


def _problem(array: np.ndarray[Any, Any], like: Any, finite: bool) -> str | None:
    shape = jax.eval_shape(jax.random.key_data, like).shape if _is_key(like) else np.shape(like)
    dtype = np.dtype(np.uint32) if _is_key(like) else np.dtype(like.dtype)
    if array.dtype.kind not in "biuf":
        return f"holds {array.dtype}, expected numbers"
    if array.shape != shape:
        return f"has shape {array.shape}, expected {shape}"
    if not np.can_cast(array.dtype, dtype, "same_kind"):
        return f"holds {array.dtype}, expected {dtype}"
    with np.errstate(over="ignore"):
        cast = array.astype(dtype, copy=False)
    if dtype.kind in "iu" and not np.array_equal(cast, array):
        return f"holds numbers beyond {dtype}"
    if finite and dtype.kind == "f" and not np.isfinite(cast).all():
        return "holds NaN or infinity"
    return None


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _to_numpy(leaf: Any) -> np.ndarray[Any, Any]:
    leaf = _local(leaf)
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _from_numpy(array: np.ndarray[Any, Any], like: Any) -> Any:
    if _is_key(like):
        return jax.random.wrap_key_data(jnp.array(array, np.uint32), impl=jax.random.key_impl(like))
    if isinstance(like, np.ndarray):
        return np.array(array, like.dtype)
    # Copy: on the CPU, JAX may alias the NumPy buffer, and donation would then hand it to XLA.
    return jnp.array(array, dtype=like.dtype)
