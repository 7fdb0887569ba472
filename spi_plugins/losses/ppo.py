"""The clipped surrogate and other losses of PPO, per sample, so that a caller can mask and average."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float


class ClipRanges(NamedTuple):
    """How far an update may go from the policy and the critic that collected the rollout."""

    ratio: Float[Array, "*p"]  # of the probability ratio; with several phases, one for each
    value: Float[Array, ""] | None = None  # of the critic's values; ``None`` for no bound


def clipped_surrogate(
    ratio: Float[Array, " B"], utility: Float[Array, " B"], clip_range: Float[Array, ""] | float
) -> Float[Array, " B"]:
    r"""PPO's loss of one sample, Eq. 7 of Schulman et al. (2017), arXiv:1707.06347, negated.

    :math:`\max(-\rho u, -\mathrm{clip}(\rho, 1-\epsilon, 1+\epsilon) u)`. Deep SPI passes its utility
    (advantage minus model losses) for ``u``; the clip then acts on the product, and the gradient of the model
    losses inside ``u`` is weighted by the ratio but never switched off.

    Args:
        ratio: :math:`\rho = \pi(a|s) / \pi_\text{old}(a|s)`.
        utility: advantage or utility, larger is better.
        clip_range: :math:`\epsilon`.
    """
    clipped = jnp.clip(ratio, 1.0 - clip_range, 1.0 + clip_range)
    return jnp.maximum(-ratio * utility, -clipped * utility)


def drift_surrogate(
    ratio: Float[Array, " B"],
    utility: Float[Array, " B"],
    clip_range: Float[Array, ""] | float,
    drift_coef: float,
) -> Float[Array, " B"]:
    r"""Mirror-learning form: :math:`-\rho u + c_d\,\mathrm{relu}((\rho - \mathrm{clip}\,\rho) u)`.

    Equal to ``clipped_surrogate`` at ``drift_coef`` = 1; a smaller coefficient penalizes leaving the
    neighborhood less.
    """
    clipped = jnp.clip(ratio, 1.0 - clip_range, 1.0 + clip_range)
    return -ratio * utility + drift_coef * jnp.maximum((ratio - clipped) * utility, 0.0)


def value_loss(
    value: Float[Array, " B"],
    old_value: Float[Array, " B"],
    target: Float[Array, " B"],
    clip_range_vf: Float[Array, ""] | float | None,
) -> Float[Array, " B"]:
    """Half the squared error of the critic; with ``clip_range_vf``, of a value kept near the old one (as SB3)."""
    if clip_range_vf is not None:
        value = old_value + jnp.clip(value - old_value, -clip_range_vf, clip_range_vf)
    return 0.5 * (value - target) ** 2


def approximate_kl(log_ratio: Float[Array, " B"]) -> Float[Array, " B"]:
    r"""Per-sample estimate :math:`(\rho - 1) - \log\rho \ge 0` of KL(old, new), Schulman (2020)."""
    return jnp.expm1(log_ratio) - log_ratio
