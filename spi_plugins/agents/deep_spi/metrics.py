"""What an update on rows reports: scalars of its gradient steps, and how they become those of the update."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from spi_plugins.agents.deep_spi.minibatches import Minibatch
from spi_plugins.returns import masked_mean


class DeepSPIMetrics(NamedTuple):
    """Scalars of one update. Losses are means over all minibatches; ratios are those of the last epoch."""

    loss: Float[Array, ""]
    policy_gradient_loss: Float[Array, ""]
    value_loss: Float[Array, ""]
    entropy_loss: Float[Array, ""]
    approx_kl: Float[Array, ""]
    clip_fraction: Float[Array, ""]
    grad_norm: Float[Array, ""]
    ratio_min: Float[Array, ""]
    ratio_max: Float[Array, ""]
    ratio_outside: Float[Array, ""]
    explained_variance: Float[Array, ""]
    n_updates: Float[Array, ""]  # gradient steps that were applied
    # Only with a world model:
    reward_loss: Float[Array, ""] | None = None
    transition_loss: Float[Array, ""] | None = None
    termination_loss: Float[Array, ""] | None = None
    cost_loss: Float[Array, ""] | None = None  # and a constraint
    gradient_penalty: Float[Array, ""] | None = None
    latent_norm: Float[Array, ""] | None = None
    # Only with the strict neighborhood, see ``neighborhood.Walk``:
    step_kept: Float[Array, ""] | None = None
    walked_back: Float[Array, ""] | None = None
    neighborhood_max: Float[Array, ""] | None = None
    neighborhood_min: Float[Array, ""] | None = None
    fresh_max: Float[Array, ""] | None = None
    fresh_outside: Float[Array, ""] | None = None
    # Only with a constraint:
    cost_value_loss: Float[Array, ""] | None = None
    multipliers: tuple[Float[Array, ""], ...] | None = None  # of the update, one for each cost
    # Only of a Gaussian policy:
    std: Float[Array, ""] | None = None


def summarize(steps: dict[str, Float[Array, " M"]], rows: Minibatch, n_minibatches: int) -> DeepSPIMetrics:
    """Fold the scalars of all gradient steps, in order, into those of the update.

    Ratios are those of the last epoch's ``n_minibatches``; ``rows`` are all rows, for the explained variance.
    """
    last = {name: values[-n_minibatches:] for name, values in steps.items()}
    means: dict[str, Any] = {name: jnp.mean(values) for name, values in steps.items() if name != "n_valid"}
    weights = last["n_valid"] / jnp.maximum(jnp.sum(last["n_valid"]), 1.0)
    error = rows.target - rows.value

    def variance(x: Array) -> Array:
        return masked_mean((x - masked_mean(x, rows.valid)) ** 2, rows.valid)

    spread = variance(rows.target)
    explained = jnp.where(spread > 0, 1.0 - variance(error) / jnp.maximum(spread, 1e-12), jnp.nan)
    return DeepSPIMetrics(**means, explained_variance=explained)._replace(
        ratio_min=jnp.min(last["ratio_min"]),
        ratio_max=jnp.max(last["ratio_max"]),
        ratio_outside=jnp.sum(weights * last["ratio_outside"]),
        n_updates=jnp.sum(steps["n_updates"]),
    )
