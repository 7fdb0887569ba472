"""How far apart two policies are, from full action distributions: Deep SPI's neighborhood.

The neighborhood of a policy, for a constant C in (1, 2), holds the policies whose probability ratios are all in
``[2 - C, C]``. The clipped surrogate bounds neither side, and sees only the actions that were taken.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from spi_plugins.types import ActionSpec

QUANTILES = (0.5, 0.9, 0.99)


class Extremes(NamedTuple):
    """Logarithms of the largest and smallest ratio over all actions, in each row."""

    largest: Float[Array, " B"]
    smallest: Float[Array, " B"]


def ratio_extremes(
    spec: ActionSpec, logits: Float[Array, "B P"], new_logits: Float[Array, "B P"]
) -> Extremes:
    """The extremes of ``new / old`` over every action of a discrete space.

    Entries of a ``MultiDiscrete`` action are independent, so its extremes are sums over the entries.

    Raises:
        ValueError: actions are continuous; see ``gaussian_extremes``.
    """
    if spec.kind == "box":
        raise ValueError("ratio_extremes needs discrete actions, got a Box; see gaussian_extremes.")
    ends = np.cumsum(spec.nvec)[:-1].tolist()
    parts = zip(jnp.split(logits, ends, axis=-1), jnp.split(new_logits, ends, axis=-1), strict=True)
    differences = [jax.nn.log_softmax(new) - jax.nn.log_softmax(old) for old, new in parts]
    return Extremes(
        sum((jnp.max(d, axis=-1) for d in differences), jnp.zeros(len(logits))),
        sum((jnp.min(d, axis=-1) for d in differences), jnp.zeros(len(logits))),
    )


def gaussian_extremes(parameters: Float[Array, "B P"], new_parameters: Float[Array, "B P"]) -> Extremes:
    """The extremes of the ratio of two diagonal Gaussians over all of space; parameters are means, then log stds.

    A ratio is bounded from above only where every new deviation is smaller, and then it has no bound away from 0. So
    two different Gaussians are in no neighborhood of each other, whatever C is: no theorem covers Box actions.
    """
    (mean, log_std), (new_mean, new_log_std) = (
        jnp.split(p, 2, axis=-1) for p in (parameters, new_parameters)
    )
    gap = jnp.exp(2 * log_std) - jnp.exp(2 * new_log_std)
    same = (gap == 0) & (mean == new_mean)
    peak = log_std - new_log_std + jnp.square(new_mean - mean) / (2 * jnp.where(gap == 0, 1.0, gap))
    above = jnp.where(same, 0.0, jnp.where(gap > 0, peak, jnp.inf))
    below = jnp.where(same, 0.0, jnp.where(gap < 0, peak, -jnp.inf))
    return Extremes(jnp.sum(above, axis=-1), jnp.sum(below, axis=-1))


def inside(extremes: Extremes, constant: Float[Array, ""] | float) -> Bool[Array, " B"]:
    """Whether every ratio of a row is in ``[2 - C, C]``."""
    floor = jnp.maximum(2.0 - constant, 0.0)
    return (extremes.largest <= jnp.log(constant)) & (extremes.smallest >= jnp.log(floor))


class RatioSummary(NamedTuple):
    """Ratios of a batch of states.

    Attributes:
        supremum: largest ratio.
        infimum: smallest ratio.
        quantiles: of each state's largest ratio, at ``QUANTILES``.
        outside: share of states with a ratio outside of ``[2 - C, C]``.
        outside_theorem: the same for ``[2 - 1/gamma, 1/gamma]``, the widest band that the theorems allow.
    """

    supremum: float
    infimum: float
    quantiles: tuple[float, ...]
    outside: float
    outside_theorem: float


def summarize_ratios(extremes: Extremes, constant: float, gamma: float) -> RatioSummary:
    """The extremes of a batch in numbers. Over sampled states, they are not suprema over all states."""
    highest = np.exp(np.asarray(extremes.largest, np.float64))
    lowest = np.exp(np.asarray(extremes.smallest, np.float64))

    def share_outside(bound: float) -> float:
        return float(np.mean((highest > bound) | (lowest < 2 - bound)))

    return RatioSummary(
        supremum=float(highest.max()),
        infimum=float(lowest.min()),
        quantiles=tuple(np.quantile(highest, QUANTILES, method="inverted_cdf").tolist()),
        outside=share_outside(constant),
        outside_theorem=share_outside(1 / gamma if gamma > 0 else math.inf),
    )
