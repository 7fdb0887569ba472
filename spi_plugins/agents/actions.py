"""One action in three readings: as sampled, as the environment executes it, as a world model reads it."""

import jax.numpy as jnp
from jaxtyping import Array

from spi_plugins.types import ActionSpec


def executed_action(spec: ActionSpec, action: Array) -> Array:
    """What the environment gets: a Box action clipped to its bounds, any other as it is."""
    if spec.kind != "box":
        return action
    low, high = (jnp.asarray(bound, jnp.float32).reshape(1, *spec.shape) for bound in (spec.low, spec.high))
    return jnp.clip(action, low, high)


def model_action(spec: ActionSpec, action: Array) -> Array:
    """What a world model reads: a Box action as executed and scaled to [-1, 1], any other as it is."""
    if spec.kind != "box":
        return action
    low, high = (jnp.asarray(bound, jnp.float32).reshape(1, *spec.shape) for bound in (spec.low, spec.high))
    return 2.0 * (executed_action(spec, action) - low) / (high - low) - 1.0
