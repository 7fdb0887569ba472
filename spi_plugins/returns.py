"""Returns and advantages, for rewards and costs alike."""

from typing import NamedTuple

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
    is ``done`` (the sum stops) but not ``terminated`` (it still bootstraps). For costs, pass
    the costs and the cost critic's values.

    Args:
        reward: reward of the step from row ``t``.
        value: critic at row ``t``.
        next_value: critic at the state that the step led to, *before* any autoreset.
        terminated: the state reached is terminal.
        done: the episode ended with this step, for whatever reason; in a dream, the probability that it did.
        discount: :math:`\gamma` in [0, 1], per environment step.
        gae_lambda: :math:`\lambda` in [0, 1]; 1 is the Monte-Carlo return, 0 the one-step error.

    Returns:
        The advantages. Add ``value`` for the critic's targets.
    """
    delta = one_step_errors(reward, value, next_value, terminated, discount=discount)
    return _backward_sums(delta, discount * gae_lambda * (1.0 - done))


def one_step_errors(
    reward: Float[Array, "T B"],
    value: Float[Array, "T B"],
    next_value: Float[Array, "T B"],
    terminated: Bool[Array, "T B"],
    *,
    discount: float,
) -> Float[Array, "T B"]:
    r""":math:`\delta_t = r_t + \gamma (1 - e_t) v_{t+1} - v_t`, with the arguments of ``generalized_advantages``."""
    return reward + discount * jnp.where(terminated, 0.0, next_value) - value


def _backward_sums(term: Float[Array, "T B"], decay: Float[Array, "T B"]) -> Float[Array, "T B"]:
    """``s_t = term_t + decay_t s_{t+1}``, with nothing after the last row."""

    def backward(
        following: Float[Array, " B"], row: tuple[Float[Array, " B"], Float[Array, " B"]]
    ) -> tuple[Float[Array, " B"], Float[Array, " B"]]:
        term_t, decay_t = row
        total = term_t + decay_t * following
        return total, total

    return jax.lax.scan(backward, jnp.zeros_like(term[0]), (term, decay), reverse=True)[1]


class VTrace(NamedTuple):
    """V-trace's targets and advantages for rows that another policy collected."""

    correction: Float[Array, "T B"]  # add ``value`` for the critic's target
    advantage: Float[Array, "T B"]  # of the action taken, with what follows corrected


def v_trace(
    error: Float[Array, "T B"],
    log_ratio: Float[Array, "T B"],
    goes_on: Float[Array, "T B"],
    *,
    discount: float,
    gae_lambda: float,
) -> VTrace:
    r"""V-trace of Espeholt et al. (2018), arXiv:1802.01561, Eq. 1, with :math:`\bar c = \bar\rho = 1` and a decay.

    .. math:: x_t = \rho_t \delta_t + \gamma n_t c_t x_{t+1}, \qquad
              \rho_t = \min(1, \pi/\mu), \quad c_t = \lambda \rho_t, \qquad
              A_t = \delta_t + \gamma n_t x_{t+1}

    On the policy's own rows, :math:`v_t + x_t` equals the target of ``generalized_advantages``.

    Args:
        error: :math:`\delta_t` of ``one_step_errors``.
        log_ratio: :math:`\log \pi(a_t|s_t) - \log \mu(a_t|s_t)`, of the learning and the acting policy.
        goes_on: :math:`n_t`, 0 where the episode ended with the step, else 1.
        discount: :math:`\gamma`.
        gae_lambda: :math:`\lambda`.
    """
    weight = jnp.exp(jnp.minimum(log_ratio, 0.0))
    correction = _backward_sums(weight * error, discount * gae_lambda * goes_on * weight)
    following = jnp.concatenate([correction[1:], jnp.zeros_like(correction[:1])])
    return VTrace(correction, error + discount * goes_on * following)


def masked_mean(x: Float[Array, "*S"], valid: Bool[Array, "*S"]) -> Float[Array, ""]:
    """Mean of ``x`` where ``valid``; zero if nothing is. A NaN elsewhere does not leak."""
    return jnp.sum(jnp.where(valid, x, 0.0)) / jnp.maximum(jnp.sum(valid, dtype=jnp.float32), 1)


def normalize(x: Float[Array, " B"], valid: Bool[Array, " B"]) -> Float[Array, " B"]:
    """Shift and scale to zero mean and unit (population) deviation over the valid entries; zero elsewhere."""
    mean = masked_mean(x, valid)
    std = jnp.sqrt(masked_mean((x - mean) ** 2, valid))
    return jnp.where(valid, (x - mean) / (std + 1e-8), 0.0)
