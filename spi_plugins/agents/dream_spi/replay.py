"""Rows of past rollouts made ready for an update of today's policy."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from spi_plugins.agents.deep_spi.acting import evaluate
from spi_plugins.agents.deep_spi.config import Correction
from spi_plugins.agents.deep_spi.loss import Parts
from spi_plugins.agents.deep_spi.minibatches import Minibatch
from spi_plugins.agents.dream_spi.rollout_ring import Sequences
from spi_plugins.returns import VTrace, generalized_advantages, one_step_errors, v_trace
from spi_plugins.types import Observation, Params

# Bound of the logarithm of a row's weight; the official code has it for V-trace.
LOG_RATIO_BOUND = 3.0


class Replayed(NamedTuple):
    """Flattened rows, and the observations that followed them."""

    rows: Minibatch
    next_obs: Observation


def corrected_rows(parts: Parts, params: Params, sequences: Sequences, correction: Correction) -> Replayed:
    r"""Advantages, targets and weights by today's policy :math:`\pi` of rows that :math:`\mu` collected.

    A row's log-probability becomes that of :math:`\pi`, near which the clipped surrogate then keeps the new policy, and
    its weight is :math:`\kappa = \pi/\mu`: for a new policy :math:`\pi'`,

    .. math:: \kappa \max(-\tfrac{\pi'}{\pi} U, -\mathrm{clip}(\tfrac{\pi'}{\pi}, 1 \pm \epsilon) U)
              = \max(-\tfrac{\pi'}{\mu} U, -\mathrm{clip}(\tfrac{\pi'}{\mu}, \kappa (1 \pm \epsilon)) U),

    the surrogate of the official replay, with the logarithm of :math:`\kappa` kept within ``LOG_RATIO_BOUND``.

    Args:
        parts: policy, distribution and discounts.
        params: of today's policy.
        sequences: drawn from a ring.
        correction: ``"ratio"``, weights alone, with generalized advantages by today's critic; ``"vtrace"``, targets and
            advantages by V-trace, too.
    """
    # Time first, and one step of all sequences at a time: few feature maps are held.
    steps = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), sequences)

    def judge(step: tuple[Observation, Observation, Array]) -> tuple[Array, Array, Array]:
        obs, next_obs, action = step
        out = evaluate(parts, params, obs)
        next_value = parts.policy.value(params["policy"], next_obs)
        return parts.distribution.log_prob(out.parameters, action), out.value, next_value

    log_prob, value, next_value = jax.lax.map(judge, (steps.obs, steps.next_obs, steps.action))
    log_ratio = jnp.clip(log_prob - steps.log_prob, -LOG_RATIO_BOUND, LOG_RATIO_BOUND)
    done = steps.terminated | steps.truncated
    gamma, gae_lambda = parts.config.gamma, parts.config.gae_lambda
    if correction == "vtrace":
        error = one_step_errors(steps.reward, value, next_value, steps.terminated, discount=gamma)
        trace = v_trace(error, log_ratio, 1.0 - done, discount=gamma, gae_lambda=gae_lambda)
    else:
        advantage = generalized_advantages(
            steps.reward, value, next_value, steps.terminated, done, discount=gamma, gae_lambda=gae_lambda
        )
        trace = VTrace(advantage, advantage)
    rows = Minibatch(
        obs=steps.obs,
        next_obs=None,
        action=steps.action,
        log_prob=log_prob,
        value=value,
        reward=steps.reward,
        terminated=steps.terminated,
        valid=steps.valid,
        advantage=trace.advantage,
        target=value + trace.correction,
        weight=jnp.exp(log_ratio),
    )
    replayed = Replayed(rows, steps.next_obs)
    folded: Replayed = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), replayed)
    return folded
