"""Returns and advantages, for rewards and costs alike."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def generalized_advantages(
    reward: Float[Array, "T B"],
    value: Float[Array, "T B"],
    next_value: Float[Array, "T B"],
    terminated: Bool[Array, "T B"],
    done: Bool[Array, "T B"] | Float[Array, "T B"],
    *,
    discount: float,
    gae_lambda: float,
) -> Float[Array, "T B"]:
    r"""Generalized advantage estimates, Eq. 16 of Schulman et al. (2016), arXiv:1506.02438.

    .. math:: A_t = \delta_t + \gamma\lambda (1 - d_t) A_{t+1}, \qquad
              \delta_t = r_t + \gamma (1 - e_t) v_{t+1} - v_t

    with :math:`e_t` = ``terminated`` and :math:`d_t` = ``done``. The two differ on a time limit: a truncated step
    is ``done`` (the sum stops) but not ``terminated`` (it still bootstraps). The same function serves costs: pass
    the cost and the cost critic's values.

    Args:
        reward: reward of the step from row ``t``.
        value: critic at row ``t``.
        next_value: critic at the state that the step led to, *before* any autoreset.
        terminated: the state reached is terminal.
        done: the episode ended with this step, for whatever reason; or the probability that it did, in a dream.
        discount: :math:`\gamma` in [0, 1], per environment step.
        gae_lambda: :math:`\lambda` in [0, 1]; 1 is the Monte-Carlo return, 0 the one-step error.

    Returns:
        The advantages. Add ``value`` for the critic's targets.
    """
    delta = reward + discount * jnp.where(terminated, 0.0, next_value) - value
    decay = discount * gae_lambda * (1.0 - done)

    def backward(
        following: Float[Array, " B"], row: tuple[Float[Array, " B"], Float[Array, " B"]]
    ) -> tuple[Float[Array, " B"], Float[Array, " B"]]:
        delta_t, decay_t = row
        advantage = delta_t + decay_t * following
        return advantage, advantage

    return jax.lax.scan(backward, jnp.zeros_like(delta[0]), (delta, decay), reverse=True)[1]


def masked_mean(x: Float[Array, "*S"], valid: Bool[Array, "*S"]) -> Float[Array, ""]:
    """Mean of ``x`` where ``valid``; zero if nothing is. A NaN in a masked place does not leak."""
    return jnp.sum(jnp.where(valid, x, 0.0)) / jnp.maximum(jnp.sum(valid), 1)


def normalize(x: Float[Array, " B"], valid: Bool[Array, " B"], epsilon: float = 1e-8) -> Float[Array, " B"]:
    """Shift and scale to zero mean and unit (population) deviation over the valid entries; zero elsewhere."""
    mean = masked_mean(x, valid)
    std = jnp.sqrt(masked_mean((x - mean) ** 2, valid))
    return jnp.where(valid, (x - mean) / (std + epsilon), 0.0)
