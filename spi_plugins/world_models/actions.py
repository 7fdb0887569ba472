"""An environment's action as a world model reads it, and as a replay buffer keeps it."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from spi_plugins.types import ActionSpec


def model_action(spec: ActionSpec, action: Array) -> Array:
    """Actions ``[N, ...]``: a Box's clipped to its bounds and scaled to [-1, 1], any other as it is."""
    if spec.kind != "box":
        return action
    low, high = (jnp.asarray(bound, jnp.float32).reshape(1, *spec.shape) for bound in (spec.low, spec.high))
    return 2.0 * (jnp.clip(action, low, high) - low) / (high - low) - 1.0


def world_action(spec: ActionSpec, action: Array) -> Array:
    """Actions ``[N, ...]`` as a ``world_models.interface.Model`` takes them: a Box's scaled, and as vectors."""
    return model_action(spec, action).reshape(-1, spec.size) if spec.kind == "box" else action


def stored_size(spec: ActionSpec) -> int:
    """Entries of an action in a replay buffer: a discrete one is a number, not a one-hot."""
    return math.prod(spec.shape)


def stored_action(spec: ActionSpec, action: Array) -> Float[Array, "N A"]:
    """Actions ``[N, ...]`` as a replay buffer keeps them: a Box's in [-1, 1], others as numbers."""
    return model_action(spec, action).reshape(-1, stored_size(spec)).astype(jnp.float32)


def restored_action(spec: ActionSpec, stored: Float[Array, "N A"]) -> Array:
    """Actions out of a replay buffer as a ``world_models.interface.Model`` takes them."""
    if spec.kind == "box":
        return stored
    return jnp.round(stored).astype(jnp.int32).reshape(-1, *spec.shape)
