"""Actions in every form that the project gives them, and the way from one to the next.

========================  =====================================================================================
form                      what it is
========================  =====================================================================================
sampled                   what a policy drew: unbounded floats for a ``Box``, otherwise int32 counted from 0
executed                  a sampled action clipped to the bounds of its ``Box``
model                     what a world model reads: a ``Box`` as a vector in [-1, 1], discrete values as they are
stored                    what a replay buffer holds: the model's action as float32, one number for each entry
space                     what Gymnasium's space contains: its dtype, and its ``start`` for discrete values
========================  =====================================================================================

The first four depend on an ``ActionSpec`` and run on the device; the last one runs on the host. Gymnasium's
spaces are only read here, so that the pure layers can import this module.
"""

import math
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from spi_plugins.types import ActionSpec

HostArray: TypeAlias = np.ndarray[Any, Any]


def executed_action(spec: ActionSpec, action: Array) -> Array:
    """Clip sampled ``Box`` actions ``[N, ...]`` to their bounds; leave other actions alone."""
    return jnp.clip(action, *_bounds(spec)) if spec.kind == "box" else action


def model_action(spec: ActionSpec, action: Array) -> Array:
    """Turn actions ``[N, ...]`` of the environment into the model's: clipped and scaled ``[N, A]`` for a ``Box``."""
    if spec.kind != "box":
        return action
    low, high = _bounds(spec)
    return (2.0 * (jnp.clip(action, low, high) - low) / (high - low) - 1.0).reshape(-1, spec.size)


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
    """Turn executed actions into actions of a Gymnasium space.

    Args:
        space: the space of one action, without an environment axis.
        action: ``[...]`` or ``[B, ...]``, counted from 0 for discrete kinds.

    Returns:
        An array of the same shape, with the space's dtype and ``start``.
    """
    return np.asarray(np.asarray(action) + space.start if _counts(space) else action, space.dtype)


def from_action(space: Any, action: HostArray) -> HostArray:
    """Turn actions of a Gymnasium space into executed ones, int32 or float32: the inverse of ``to_action``."""
    dtype = np.float32 if np.issubdtype(space.dtype, np.floating) else np.int32
    return np.asarray(np.asarray(action) - space.start if _counts(space) else action, dtype)


def scale_action(space: Any, action: HostArray) -> HostArray:
    """Turn a model's actions ``[B, A]`` in [-1, 1] into actions ``[B, ...]`` of a ``Box``, within its bounds."""
    unit = action.reshape(-1, *space.shape)
    scaled = space.low + 0.5 * (unit + 1.0) * (space.high - space.low)
    return np.asarray(np.clip(scaled, space.low, space.high), space.dtype)


def random_actions(spec: ActionSpec, rng: np.random.Generator, leading: tuple[int, ...]) -> HostArray:
    """Draw executed actions ``[*leading, ...]`` uniformly."""
    if spec.kind == "box":
        flat = rng.uniform(spec.low, spec.high, size=(*leading, len(spec.low))).astype(np.float32)
        return flat.reshape(*leading, *spec.shape)
    high = spec.nvec[0] if spec.kind == "discrete" else spec.nvec
    return rng.integers(high, size=(*leading, *spec.shape), dtype=np.int32)


def _bounds(spec: ActionSpec) -> tuple[Array, Array]:
    low, high = (jnp.asarray(bound, jnp.float32).reshape(1, *spec.shape) for bound in (spec.low, spec.high))
    return low, high


def _counts(space: Any) -> bool:
    return hasattr(space, "start")  # Discrete and MultiDiscrete, without an import of Gymnasium
