"""A ring of past rollouts on the device, and the correction of their rows for the current policy."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from spi_plugins import buffers
from spi_plugins.agents.deep_spi.config import Correction
from spi_plugins.agents.deep_spi.minibatches import FlatRollout, Minibatch, fold
from spi_plugins.agents.on_policy import Parts, evaluate
from spi_plugins.returns import VTrace, generalized_advantages, one_step_errors, v_trace
from spi_plugins.types import ActionSpec, Observation, ObservationSpec, Params, Rollout

# Bound on the logarithm of a row's weight; the official code has it for V-trace.
LOG_RATIO_BOUND = 3.0


class Sequences(NamedTuple):
    """``N`` sequences of ``T`` steps, each one environment's part of one rollout."""

    obs: Observation  # [N, T, ...]
    next_obs: Observation  # [N, T, ...], the true successors in every autoreset mode
    action: Array  # [N, T, ...], as sampled
    log_prob: Float[Array, "N T"]  # of the policy that acted
    reward: Float[Array, "N T"]
    terminated: Bool[Array, "N T"]
    truncated: Bool[Array, "N T"]
    valid: Bool[Array, "N T"]


class Ring(NamedTuple):
    """The last sequences."""

    sequences: Sequences  # arrays with a leading axis of ``capacity``
    position: Int[Array, ""]  # the next place to write
    size: Int[Array, ""]  # filled places


def init_ring(observations: ObservationSpec, actions: ActionSpec, capacity: int, n_steps: int) -> Ring:
    """Make an empty ring of ``capacity`` sequences of ``n_steps`` steps, with two observations for each step."""
    obs = buffers.init(observations, 1, capacity, n_steps).slots.obs
    number, flag = jnp.zeros((capacity, n_steps)), jnp.zeros((capacity, n_steps), bool)
    dtype = jnp.float32 if actions.kind == "box" else jnp.int32
    sequences = Sequences(
        obs=obs,
        next_obs=jax.tree.map(jnp.copy, obs),
        action=jnp.zeros((capacity, n_steps, *actions.shape), dtype),
        log_prob=number,
        reward=jnp.copy(number),
        terminated=flag,
        truncated=jnp.copy(flag),
        valid=jnp.copy(flag),
    )
    return Ring(sequences, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


def add_rollout(ring: Ring, rollout: Rollout, learnable: Array | None = None) -> Ring:
    """Write a rollout's sequences over the oldest ones; the ring must have room for one of each environment.

    Where ``learnable`` is false, the ring stays as it is.
    """
    capacity, n_envs = ring.sequences.reward.shape[0], rollout.reward.shape[1]
    followed = rollout.final_obs
    if followed is None:
        followed = jax.tree.map(lambda x: x[1:], rollout.obs)
    fields = {name: getattr(rollout, name) for name in Sequences._fields if name not in ("obs", "next_obs")}
    new = Sequences(obs=jax.tree.map(lambda x: x[:-1], rollout.obs), next_obs=followed, **fields)
    places = (ring.position + jnp.arange(n_envs, dtype=jnp.int32)) % capacity

    def write(rows: Array, x: Array) -> Array:
        x = jnp.swapaxes(x, 0, 1).astype(rows.dtype)
        # Row by row: a choice between two whole rings would copy one.
        return rows.at[places].set(x if learnable is None else jnp.where(learnable, x, rows[places]))

    sequences = jax.tree.map(write, ring.sequences, new)
    n_new: Array | int = n_envs if learnable is None else n_envs * learnable.astype(jnp.int32)
    return Ring(sequences, (ring.position + n_new) % capacity, jnp.minimum(ring.size + n_new, capacity))


def draw(ring: Ring, key: Array, count: int) -> Sequences:
    """Draw ``count`` sequences uniformly and with replacement; the ring must not be empty."""
    index = jax.random.randint(key, (count,), 0, jnp.maximum(ring.size, 1))
    drawn: Sequences = jax.tree.map(lambda rows: rows[index], ring.sequences)
    return drawn


def corrected_rows(parts: Parts, params: Params, sequences: Sequences, correction: Correction) -> FlatRollout:
    r"""Advantages, targets and weights under the current policy :math:`\pi` for rows that :math:`\mu` collected.

    A row's log-probability becomes that of :math:`\pi`, near which the clipped surrogate then keeps the new policy,
    and its weight is :math:`\kappa = \pi/\mu`: for a new policy :math:`\pi'`,

    .. math:: \kappa \max(-\tfrac{\pi'}{\pi} U, -\mathrm{clip}(\tfrac{\pi'}{\pi}, 1 \pm \epsilon) U)
              = \max(-\tfrac{\pi'}{\mu} U, -\mathrm{clip}(\tfrac{\pi'}{\mu}, \kappa (1 \pm \epsilon)) U),

    the surrogate of the official replay, with the logarithm of :math:`\kappa` kept within ``LOG_RATIO_BOUND``. The
    correction ``"ratio"`` weighs the rows and estimates generalized advantages with the current critic; ``"vtrace"``
    also takes targets and advantages from V-trace.
    """
    # Time leads, and one step of all sequences is evaluated at a time, to hold few feature maps.
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
    return FlatRollout(fold(rows), fold(steps.next_obs), len(sequences.reward))
