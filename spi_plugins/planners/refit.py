"""The steps of an iteration after sampling: mark elites, weight them, fit the next mean."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from spi_plugins.action_heads import Proposal
from spi_plugins.planners.planner import PlanMetrics


class Selection(NamedTuple):
    """The sequences that the next mean is fitted to, their scores, and metrics of the selection."""

    mask: Bool[Array, " N"]  # at least one is true
    score: Float[Array, " N"]  # used where the mask is true; equal scores have equal weights
    metrics: PlanMetrics


def rounding(threshold: Float[Array, ""]) -> Float[Array, ""]:
    """How far sums of equal numbers may differ because they were added in another order.

    Comparisons with a mean allow for it: equal sequences must pass, as all do before anything is learned.
    """
    return 1e-5 * (1.0 + jnp.abs(threshold))


def shift(mean: Float[Array, "H A"]) -> Float[Array, "H A"]:
    """Move the mean on by one decision: drop the first action and append zeros."""
    return jnp.concatenate([mean[1:], jnp.zeros_like(mean[:1])])


def highest(score: Float[Array, " N"], k: int, *, ties_to_the_last: bool = False) -> Bool[Array, " N"]:
    """Mark the ``k`` highest scores; ties go to the first, or to the last."""
    n = len(score)
    _, index = jax.lax.top_k(score[::-1] if ties_to_the_last else score, k)
    return jnp.zeros(n, bool).at[n - 1 - index if ties_to_the_last else index].set(True)


def elite_weights(selection: Selection, temperature: float) -> Float[Array, " N"]:
    """``exp(temperature * score)`` for the selected sequences, normalized to a sum of 1; 0 for the others."""
    score = jnp.where(selection.mask, selection.score, -jnp.inf)
    # Subtract the maximum first: temperature times the largest float would be infinite, and NaN after the softmax.
    return jax.nn.softmax(temperature * (score - jnp.max(score)))


def weighted_moments(vectors: Float[Array, "H N A"], weights: Float[Array, " N"]) -> Proposal:
    """Weighted mean and standard deviation of sequences, of one-hots the probabilities."""
    mean = jnp.einsum("n,hna->ha", weights, vectors)
    variance = jnp.einsum("n,hna->ha", weights, (vectors - mean[:, None]) ** 2)
    return Proposal(mean, jnp.sqrt(variance))
