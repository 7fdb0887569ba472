"""A ring of past rollouts on the device, kept environment by environment, from which sequences are drawn."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from spi_plugins import buffers
from spi_plugins.types import ActionSpec, Observation, ObservationSpec, Rollout


class Sequences(NamedTuple):
    """``N`` sequences of ``T`` steps, each one environment's part of a rollout; so none crosses two rollouts."""

    obs: Observation  # [N, T, ...]
    next_obs: Observation  # [N, T, ...], the true successors, whatever the environment's way to reset
    action: Array  # [N, T, ...], as sampled
    log_prob: Float[Array, "N T"]  # of the policy that acted
    reward: Float[Array, "N T"]
    terminated: Bool[Array, "N T"]
    truncated: Bool[Array, "N T"]
    valid: Bool[Array, "N T"]


class Ring(NamedTuple):
    """The last sequences.

    Attributes:
        sequences: arrays with a leading axis of ``capacity``.
        position: where the next sequence is written.
        size: sequences that there are.
    """

    sequences: Sequences
    position: Int[Array, ""]
    size: Int[Array, ""]


def init_ring(observations: ObservationSpec, actions: ActionSpec, capacity: int, n_steps: int) -> Ring:
    """An empty ring of ``capacity`` sequences of ``n_steps`` steps. It holds two observations for each step."""
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


def add_rollout(ring: Ring, rollout: Rollout) -> Ring:
    """Write a rollout's sequences over the oldest ones; it must not have more environments than the ring has room."""
    capacity, n_envs = ring.sequences.reward.shape[0], rollout.reward.shape[1]
    followed = rollout.final_obs
    if followed is None:
        followed = jax.tree.map(lambda x: x[1:], rollout.obs)
    fields = {name: getattr(rollout, name) for name in Sequences._fields if name not in ("obs", "next_obs")}
    new = Sequences(obs=jax.tree.map(lambda x: x[:-1], rollout.obs), next_obs=followed, **fields)
    places = (ring.position + jnp.arange(n_envs, dtype=jnp.int32)) % capacity
    sequences = jax.tree.map(
        lambda rows, x: rows.at[places].set(jnp.swapaxes(x, 0, 1).astype(rows.dtype)), ring.sequences, new
    )
    return Ring(sequences, (ring.position + n_envs) % capacity, jnp.minimum(ring.size + n_envs, capacity))


def draw(ring: Ring, key: Array, count: int) -> Sequences:
    """``count`` sequences, uniformly and with replacement; the ring must not be empty."""
    index = jax.random.randint(key, (count,), 0, jnp.maximum(ring.size, 1))
    drawn: Sequences = jax.tree.map(lambda rows: rows[index], ring.sequences)
    return drawn
