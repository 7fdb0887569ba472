r"""Losses of an implicit world model on windows of ``H`` steps, SPOWL (arXiv:2506.04828) and TD-MPC2.

Every loss is a mean over the samples of each step, then a sum over the steps with the weights
:math:`\rho^t / H`. Where a step begins at the last observation of an episode it is not a transition: ``valid`` is
false there, and the step does not count.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from spi_plugins.returns import masked_mean

_EPSILON = 1e-9


def over_window(
    loss: Float[Array, "H B"], valid: Bool[Array, "H B"], rho: float, entries: int = 1
) -> Float[Array, ""]:
    r""":math:`\frac1H\sum_t \rho^t` times the mean of the valid entries of row ``t``.

    Args:
        loss: of each step of each window.
        valid: the step is a transition.
        rho: weight of a step relative to the step before.
        entries: ``loss`` is a mean over that many entries, of which the official code's consistency loss takes only
            one from the denominator for each invalid row (``spowl.md`` 4.3); 1 counts rightly.
    """
    kept = jnp.where(valid, loss, 0.0)
    denominator = loss.shape[1] * entries - jnp.sum(~valid, axis=1)
    means = jnp.sum(kept, axis=1) * entries / (denominator + _EPSILON)
    weights = rho ** jnp.arange(loss.shape[0], dtype=jnp.float32)
    return jnp.sum(weights * means) / loss.shape[0]


def consistency(prediction: Float[Array, "H B Z"], target: Float[Array, "H B Z"]) -> Float[Array, "H B"]:
    """Mean squared error of the latent's entries."""
    return jnp.mean((prediction - target) ** 2, axis=-1)


def imbalance_weights(cost: Float[Array, "H B"], minimal_cost: float, weight: float) -> Float[Array, "H B"]:
    """``weight`` for steps that cost more than ``minimal_cost``, 1 for others: unsafe steps are rare."""
    return jnp.where(cost > minimal_cost, weight, 1.0)


def termination_loss(
    logits: Float[Array, "H B"], terminated: Bool[Array, "H B"], valid: Bool[Array, "H B"]
) -> Float[Array, ""]:
    """Binary cross-entropy in nats, the mean over all valid steps without weights, as in TD-MPC2's code."""
    entropies = jax.nn.softplus(logits) - jnp.where(terminated, logits, 0.0)
    return masked_mean(entropies, valid)


def td_target(
    signal: Float[Array, "H B"],
    terminated: Bool[Array, "H B"],
    next_value: Float[Array, "H B"],
    gamma: float,
) -> Float[Array, "H B"]:
    r""":math:`r + \gamma v'`, without the second term where the state reached is terminal."""
    return signal + gamma * jnp.where(terminated, 0.0, next_value)
