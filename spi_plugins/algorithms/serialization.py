"""Spaces and pytrees of arrays in and out of a model file: JSON and named arrays only."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from spi_plugins.errors import ModelFileError
from spi_plugins.types import PyTree


def encode_space(space: spaces.Space[Any]) -> dict[str, Any]:
    """JSON form of a space."""
    if isinstance(space, spaces.Box):
        return {
            "type": "Box",
            "shape": list(space.shape),
            "dtype": str(space.dtype),
            "low": _bounds(space.low),
            "high": _bounds(space.high),
        }
    if isinstance(space, spaces.Discrete):
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start), "dtype": str(space.dtype)}
    if isinstance(space, spaces.MultiDiscrete):
        return {
            "type": "MultiDiscrete",
            "nvec": space.nvec.tolist(),
            "start": space.start.tolist(),
            "dtype": str(space.dtype),
        }
    if isinstance(space, spaces.MultiBinary):
        # Spaces of n=2 and n=(2,) have the same shape, but are not equal.
        return {"type": "MultiBinary", "n": space.n if isinstance(space.n, int) else list(space.shape)}
    if isinstance(space, spaces.Dict):
        return {"type": "Dict", "spaces": {key: encode_space(value) for key, value in space.spaces.items()}}
    raise TypeError(f"A model file cannot describe the space {space}.")


def _bounds(bound: np.ndarray[Any, Any]) -> Any:
    """One number where all elements agree, so that an image's bounds stay short."""
    return bound.flat[0].item() if bound.size and (bound == bound.flat[0]).all() else bound.tolist()


def decode_space(stored: dict[str, Any]) -> spaces.Space[Any]:
    """The space that ``encode_space`` described."""
    kind = stored.get("type")
    if kind == "Box":
        shape, dtype = tuple(stored["shape"]), np.dtype(stored["dtype"])
        low, high = (np.broadcast_to(np.asarray(stored[key], dtype), shape) for key in ("low", "high"))
        return spaces.Box(low, high, shape, dtype.type)
    if kind == "Discrete":
        return spaces.Discrete(stored["n"], start=stored["start"], dtype=np.dtype(stored["dtype"]).type)
    if kind == "MultiDiscrete":
        return spaces.MultiDiscrete(
            stored["nvec"], dtype=np.dtype(stored["dtype"]).type, start=stored["start"]
        )
    if kind == "MultiBinary":
        return spaces.MultiBinary(stored["n"])
    if kind == "Dict":
        return spaces.Dict({key: decode_space(value) for key, value in stored["spaces"].items()})
    raise ModelFileError(f"The file describes a space of unknown type {kind!r}.")


def flatten_arrays(tree: PyTree) -> dict[str, np.ndarray[Any, Any]]:
    """A pytree's leaves by path. Typed PRNG keys become their raw words."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): _to_numpy(leaf) for path, leaf in leaves}


def restore_arrays(target: PyTree, arrays: dict[str, np.ndarray[Any, Any]], *, what: str) -> PyTree:
    """A pytree like ``target`` with the leaves that ``flatten_arrays`` named.

    Raises:
        ModelFileError: a leaf is missing, left over, of another shape or no numbers; the first are listed.
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


def _from_numpy(array: np.ndarray[Any, Any], like: Any) -> jax.Array:
    if _is_key(like):
        key: jax.Array = jax.random.wrap_key_data(jnp.array(array, np.uint32), impl=jax.random.key_impl(like))
        return key
    # A copy: on the CPU JAX may otherwise alias the buffer, which donation would then hand to XLA.
    return jnp.array(array, dtype=like.dtype)
