"""Actions in every form that the project gives them, and the way from one to the next.

========================  =====================================================================================
form                      what it is
========================  =====================================================================================
sampled                   what a policy drew: unbounded floats for a ``Box``, otherwise int32 counted from 0
executed                  a sampled action clipped to the bounds of its ``Box``, whole numbers for one of integers
model                     what a world model reads: a ``Box`` as a vector in [-1, 1], discrete values as they are
stored                    what a replay buffer holds: the model's action as float32, one number for each entry
space                     what Gymnasium's space contains: its dtype, and its ``start`` for discrete values
========================  =====================================================================================

The first four depend on an ``ActionSpec`` and run on the device; the last one runs on the host. Gymnasium's
spaces are only read here, so that the pure layers can import this module.
"""

import functools
import itertools
import math
import operator
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import NDArray

from spi_plugins.types import ActionSpec

HostArray: TypeAlias = np.ndarray[Any, Any]

# Its reciprocal, by which XLA multiplies to divide, is still a normal float32; smaller ones count as 0.
_LARGEST = 2.0**126


def executed_action(spec: ActionSpec, action: Array) -> Array:
    """Clip sampled ``Box`` actions ``[N, ...]`` to their bounds, and round those of an integer ``Box``."""
    if spec.kind != "box":
        return action
    low, high = (bound.astype(np.float32) for bound in _bounds(spec))
    clipped = jnp.clip(action, low, high)
    return jnp.round(clipped) if _is_integer(spec.dtype) else clipped


def model_action(spec: ActionSpec, action: Array) -> Array:
    """Turn actions ``[N, ...]`` of the environment into the model's: clipped and scaled ``[N, A]`` for a ``Box``.

    A dimension without width is 0 to the model.
    """
    if spec.kind != "box":
        return action
    middle, half = _scale(*_bounds(spec))
    # XLA takes numbers below the smallest normal one for 0.
    half = np.where(half.astype(np.float32) >= np.finfo(np.float32).tiny, half, 1.0).astype(np.float32)
    scaled = (executed_action(spec, action) - middle.astype(np.float32)) / half
    return jnp.clip(scaled, -1.0, 1.0).reshape(-1, spec.size)


def executed_by_model(spec: ActionSpec, action: Array) -> Array:
    """Turn a model's actions ``[N, ...]`` into executed ones: undoes ``model_action``."""
    if spec.kind != "box":
        return action
    middle, half = (jnp.asarray(part, jnp.float32) for part in _scale(*_bounds(spec)))
    return executed_action(spec, middle + half * action.reshape(-1, *spec.shape))


def stored_size(spec: ActionSpec) -> int:
    """Entries of a stored action: a discrete value is one number, not a one-hot."""
    return math.prod(spec.shape)


def stored_action(spec: ActionSpec, action: Array) -> Float[Array, "N A"]:
    """Turn actions ``[N, ...]`` of the environment into those of a replay buffer."""
    return model_action(spec, action).reshape(-1, stored_size(spec)).astype(jnp.float32)


def restored_action(spec: ActionSpec, stored: Float[Array, "N A"]) -> Array:
    """Turn actions of a replay buffer into the model's."""
    if spec.kind == "box":
        return stored
    return jnp.round(stored).astype(jnp.int32).reshape(-1, *spec.shape)


def to_action(space: Any, action: HostArray) -> HostArray:
    """Turn executed actions into actions of a Gymnasium space, which contains the result.

    Args:
        space: the space of one action, without an environment axis.
        action: ``[...]`` or ``[B, ...]``, counted from 0 for discrete kinds; numbers of any precision for a ``Box``,
            which are rounded to the space's dtype and clipped to its bounds.

    Returns:
        An array of the same shape, with the space's dtype and ``start``.
    """
    action = np.asarray(action)
    if _counts(space):
        # In 64 bits, where unsigned values wrap around and back.
        counted: HostArray = np.add(action, space.start, dtype=np.int64)
        return counted.astype(space.dtype, copy=False)
    if not hasattr(space, "low"):
        return np.asarray(action, space.dtype)
    if not _is_integer(space.dtype):
        return np.asarray(np.clip(action, space.low, space.high), space.dtype)
    # The largest 64-bit integers are not floats, so the bounds themselves replace what reaches them.
    whole = np.rint(np.asarray(action, np.float64))
    inside = np.where((whole > space.low) & (whole < space.high), whole, 0.0).astype(space.dtype)
    return np.where(whole <= space.low, space.low, np.where(whole >= space.high, space.high, inside))


def from_action(space: Any, action: HostArray) -> HostArray:
    """Turn actions of a Gymnasium space into executed ones, int32 or float32: the inverse of ``to_action``."""
    if hasattr(space, "low"):
        wide = np.asarray(action, np.float64)
        return np.where(np.isfinite(wide), np.clip(wide, -_LARGEST, _LARGEST), wide).astype(np.float32)
    return np.asarray(np.asarray(action) - space.start if _counts(space) else action, np.int32)


def scale_action(space: Any, action: HostArray) -> HostArray:
    """Turn a model's actions ``[B, ...]`` into actions of a Gymnasium space, of a ``Box`` within its bounds."""
    if not hasattr(space, "low"):
        return to_action(space, action)
    middle, half = _scale(space.low, space.high)
    return to_action(space, middle + half * np.asarray(action, np.float64).reshape(-1, *space.shape))


def allow_some(spec: ActionSpec, masks: Any) -> Any:
    """Whether masks ``[..., P]``, of NumPy or JAX, allow at least one value of every discrete entry; ``[...]``."""
    ends = itertools.accumulate(spec.nvec)
    entries = [masks[..., end - n : end].any(axis=-1) for n, end in zip(spec.nvec, ends, strict=True)]
    return functools.reduce(operator.and_, entries)


def random_actions(spec: ActionSpec, rng: np.random.Generator, leading: tuple[int, ...]) -> HostArray:
    """Draw executed actions ``[*leading, ...]`` uniformly."""
    if spec.kind == "box":
        middle, half = _scale(*_bounds(spec))
        drawn = middle[0] + half[0] * rng.uniform(-1.0, 1.0, size=(*leading, *spec.shape))
        return np.asarray(np.rint(drawn) if _is_integer(spec.dtype) else drawn, np.float32)
    high = np.asarray(spec.nvec).reshape(spec.shape)
    return rng.integers(high, size=(*leading, *spec.shape), dtype=np.int32)


def _bounds(spec: ActionSpec) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The bounds ``[1, ...]``, as far as the device's float32 reaches."""
    low, high = (
        np.clip(np.asarray(bound, np.float64), -_LARGEST, _LARGEST).reshape(1, *spec.shape)
        for bound in (spec.low, spec.high)
    )
    return low, high


def _scale(low: HostArray, high: HostArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Middle and half width; halved first, for the width of a large ``Box`` is infinite."""
    low, high = 0.5 * np.asarray(low, np.float64), 0.5 * np.asarray(high, np.float64)
    return low + high, high - low


def _is_integer(dtype: Any) -> bool:
    return np.dtype(dtype).kind in "iub"


def _counts(space: Any) -> bool:
    return hasattr(space, "start")  # Discrete and MultiDiscrete, without an import of Gymnasium
