"""Fit a world model to a data set, without an agent that acts."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from spi_plugins.buffers import Buffer
from spi_plugins.types import Params
from spi_plugins.world_models.model import Learner, WorldModel

# Gradient steps that run as one program, after which progress is reported.
_CHUNK = 100


def require_learner(world: WorldModel) -> Learner:
    """Get what fits a world model without an agent.

    Raises:
        ValueError: only an agent can.
    """
    if world.learner is None:
        raise ValueError(f"A world model of the kind {world.kind!r} is fitted only by its agent.")
    return world.learner


def fit(
    world: WorldModel,
    buffer: Buffer,
    key: Array,
    *,
    n_updates: int = 5000,
    learning_rate: float = 3e-4,
    on_progress: Callable[[int, dict[str, float]], None] | None = None,
) -> tuple[Params, dict[str, float]]:
    """Fit all parts of a world model to what a buffer holds, by ``n_updates`` gradient steps.

    The buffer is one of ``buffers``, its actions as ``actions.stored_action`` returns them. The key is for initial
    parameters and batches. ``on_progress`` gets the steps so far and the last losses, about every hundred steps.

    Returns:
        The parameters, and the means of the losses over the last hundred steps.

    Raises:
        ValueError: the kind has no learner, the buffer has no window of the model's horizon, or ``n_updates`` is
            below 1.
        FloatingPointError: a loss became NaN.
    """
    if n_updates < 1:
        raise ValueError(f"n_updates must be at least 1, got {n_updates}")
    learner = require_learner(world)
    horizon = world.model.spec.horizon
    if not bool(jnp.any(buffer.size > horizon)):
        raise ValueError(
            f"buffer holds no {horizon + 1} consecutive slots of one environment, which the horizon {horizon} needs"
        )
    state = jax.jit(learner.init)(key, buffer)
    update = jax.jit(learner.update, donate_argnums=0)
    losses: dict[str, float] = {}
    for done in range(0, n_updates, _CHUNK):
        count = min(_CHUNK, n_updates - done)
        state, means = update(state, buffer, jnp.int32(count), jnp.float32(learning_rate))
        losses = {name: float(value) for name, value in means.items()}
        bad = [name for name, value in losses.items() if not jnp.isfinite(value)]
        if bad:
            raise FloatingPointError(
                f"{', '.join(bad)} became infinite or NaN after {done + count} updates; lower learning_rate="
                f"{learning_rate}, or look for huge observations, rewards or costs."
            )
        if on_progress is not None:
            on_progress(done + count, losses)
    return learner.params(state), losses
