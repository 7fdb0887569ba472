"""One action as sampled, and as the environment executes it; ``world_models.actions`` has it as models read it."""

import jax.numpy as jnp
from jaxtyping import Array

from spi_plugins.types import ActionSpec


def executed_action(spec: ActionSpec, action: Array) -> Array:
    """What the environment gets: a Box action clipped to its bounds, any other as it is."""
    if spec.kind != "box":
        return action
    low, high = (jnp.asarray(bound, jnp.float32).reshape(1, *spec.shape) for bound in (spec.low, spec.high))
    return jnp.clip(action, low, high)
