"""Scalars of an update from those of its gradient steps."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from spi_plugins.agents.deep_spi.minibatches import Minibatch
from spi_plugins.agents.on_policy import DeepSPIMetrics
from spi_plugins.returns import masked_mean


class StepStats(NamedTuple):
    """Scalars of one gradient step; of several, with a leading axis."""

    metrics: DeepSPIMetrics
    n_valid: Float[Array, "*M"]


def summarize(stats: StepStats, rows: Minibatch, n_minibatches: int) -> DeepSPIMetrics:
    """Fold the scalars of all gradient steps into those of the update.

    Args:
        stats: of all minibatches of all epochs, in order.
        rows: all rows, for the critic's explained variance.
        n_minibatches: of the last epoch, whose ratios are the update's.
    """
    last = jax.tree.map(lambda x: x[-n_minibatches:], stats)
    means: DeepSPIMetrics = jax.tree.map(jnp.mean, stats.metrics)
    weights = last.n_valid / jnp.maximum(jnp.sum(last.n_valid), 1.0)
    error = rows.target - rows.value

    def variance(x: Array) -> Array:
        return masked_mean((x - masked_mean(x, rows.valid)) ** 2, rows.valid)

    spread = variance(rows.target)
    return means._replace(
        ratio_min=jnp.min(last.metrics.ratio_min),
        ratio_max=jnp.max(last.metrics.ratio_max),
        ratio_outside=jnp.sum(weights * last.metrics.ratio_outside),
        explained_variance=jnp.where(spread > 0, 1.0 - variance(error) / jnp.maximum(spread, 1e-12), jnp.nan),
        n_updates=jnp.sum(stats.metrics.n_updates),
    )
