"""Fit the implicit world model to a data set, without an agent that acts."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from spi_plugins import buffers
from spi_plugins.agents.spowl import make_spowl
from spi_plugins.agents.spowl_interface import SPOWLConfig, SPOWLMetrics
from spi_plugins.buffers import Buffer
from spi_plugins.planners.policy import make_policy
from spi_plugins.types import ActionSpec, ObservationSpec
from spi_plugins.world_models.fitted import FittedModel


def fit(
    observations: ObservationSpec,
    actions: ActionSpec,
    buffer: Buffer,
    key: Array,
    *,
    n_updates: int = 5000,
    learning_rate: float = 3e-4,
    config: SPOWLConfig | None = None,
) -> tuple[FittedModel, SPOWLMetrics]:
    """Fit all parts of the model, its critics and policy included, to what a buffer holds.

    Args:
        observations: what the buffer's observations are.
        actions: of the environment; a box. The buffer's are scaled to [-1, 1].
        buffer: see ``buffers``.
        key: of initial parameters and batches.
        n_updates: gradient steps.
        learning_rate: of all parts.
        config: model and losses; the paper's by default.

    Returns:
        The model, and the means of the losses over the last tenth of the steps.

    Raises:
        ValueError: the buffer holds no window of the model's horizon, or ``n_updates`` is below 1.
    """
    config = SPOWLConfig() if config is None else config
    if n_updates < 1:
        raise ValueError(f"n_updates must be at least 1, got {n_updates}")
    if not bool(buffers.can_sample(buffer, config.model.horizon)):
        raise ValueError(
            f"buffer holds no {config.model.horizon + 1} consecutive slots of one environment, which the horizon "
            f"{config.model.horizon} needs"
        )
    agent = make_spowl(observations, actions, config, make_policy())
    update = jax.jit(agent.update, donate_argnums=0)
    state = jax.jit(agent.init)(key)
    last = max(n_updates // 10, 1)
    if n_updates > last:
        state, _ = update(state, buffer, jnp.int32(n_updates - last), jnp.float32(learning_rate))
    state, metrics = update(state, buffer, jnp.int32(last), jnp.float32(learning_rate))
    return FittedModel(agent.world_model.model, state.params, observations, actions), metrics
