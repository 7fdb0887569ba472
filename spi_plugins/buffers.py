"""A replay buffer of steps from which windows of consecutive ones are drawn, as pure functions on arrays.

A slot holds an observation *and what led to it*: action, reward, cost and flags. The first observation of an episode
has its own slot, whose action means nothing; so the last observation of an episode is stored, too, and the layout suits
environments that reset in the same step as well as in the next. Each environment has its own ring, so one may hold more
slots than another.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from spi_plugins.sharding import apart, take, whole
from spi_plugins.types import Observation, ObservationSpec, PyTree, device_dtype


class Slot(NamedTuple):
    """One slot of each of ``B`` environments; in a buffer, with a second axis for time."""

    obs: Observation  # [B, *obs]
    action: Float[Array, "*B A"]  # as ``actions.stored_action`` has it
    reward: Float[Array, "*B"]
    cost: Float[Array, "*B"]
    terminated: Bool[Array, "*B"]
    truncated: Bool[Array, "*B"]
    valid: Bool[Array, "*B"]  # a step led here; false for the first observation of an episode


class Buffer(NamedTuple):
    """The rings of all environments."""

    slots: Slot  # arrays ``[B, capacity, ...]``
    position: Int[Array, " B"]  # the next place to write in each ring
    size: Int[Array, " B"]  # filled slots of each ring


class Windows(NamedTuple):
    """``N`` windows of ``H`` steps, time first."""

    obs: Observation  # [H + 1, N, *obs]
    action: Float[Array, "H N A"]  # from obs[t] to obs[t + 1]
    reward: Float[Array, "H N"]
    cost: Float[Array, "H N"]
    terminated: Bool[Array, "H N"]  # obs[t + 1] is terminal
    valid: Bool[Array, "H N"]  # false where obs[t + 1] begins an episode: the step is not a transition
    done: Bool[Array, "H+1 N"]  # obs[t] is the last of its episode


def slot_bytes(observations: ObservationSpec, action_size: int) -> int:
    """Size of one slot in bytes."""
    slots = jax.eval_shape(lambda: init(observations, action_size, 1, 1))
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(slots.slots))


def init(observations: ObservationSpec, action_size: int, n_envs: int, capacity: int) -> Buffer:
    """An empty buffer of ``B`` rings with ``capacity`` slots each; images stay bytes."""
    lead = (n_envs, capacity)

    def zeros(shape: tuple[int, ...], dtype: str) -> Array:
        return jnp.zeros((*lead, *shape), device_dtype(dtype))

    obs: PyTree
    if isinstance(observations, tuple):
        obs = {key: zeros(spec.shape, spec.dtype) for key, spec in observations}
    else:
        obs = zeros(observations.shape, observations.dtype)
    slots = Slot(
        obs=obs,
        action=jnp.zeros((*lead, action_size)),
        reward=jnp.zeros(lead),
        cost=jnp.zeros(lead),
        terminated=jnp.zeros(lead, bool),
        truncated=jnp.zeros(lead, bool),
        valid=jnp.zeros(lead, bool),
    )
    return Buffer(slots, jnp.zeros(n_envs, jnp.int32), jnp.zeros(n_envs, jnp.int32))


def add(buffer: Buffer, slot: Slot, written: Bool[Array, " B"]) -> Buffer:
    """Write one slot for each environment where ``written``, over the oldest one if its ring is full.

    Donate the buffer, and nothing is copied.
    """
    return apart(_added, None, buffer, slot, written)


def _added(_: None, buffer: Buffer, slot: Slot, written: Array) -> Buffer:
    n_envs, capacity = buffer.slots.reward.shape
    rows = jnp.arange(n_envs)
    # Writes outside the ring are dropped.
    place = jnp.where(written, buffer.position, capacity)
    slots = jax.tree.map(
        lambda ring, new: ring.at[rows, place].set(jnp.asarray(new, ring.dtype), mode="drop"),
        buffer.slots,
        slot,
    )
    step = written.astype(jnp.int32)
    return Buffer(slots, (buffer.position + step) % capacity, jnp.minimum(buffer.size + step, capacity))


def sample(buffer: Buffer, key: Array, batch_size: int, horizon: int) -> Windows:
    """Draw ``N`` windows of ``H`` steps uniformly and with replacement; there must be one.

    A window may cross the end of an episode, where ``valid`` is false, but not the place of writing.
    """
    capacity = buffer.slots.reward.shape[1]
    position, size = whole((buffer.position, buffer.size))
    ends = jnp.cumsum(jnp.maximum(size - horizon, 0))
    index = whole(jax.random.randint(key, (batch_size,), 0, jnp.maximum(ends[-1], 1)))
    env = jnp.searchsorted(ends, index, side="right").astype(jnp.int32)
    start = index - jnp.where(env > 0, ends[env - 1], 0)
    oldest = position[env] - size[env]
    time = jnp.arange(horizon + 1, dtype=jnp.int32)[:, None]
    place = ((oldest + start)[None] + time) % capacity
    return windows(take(buffer.slots, env, place))


def windows(slots: Slot) -> Windows:
    """Turn slots ``[H + 1, N, ...]`` of consecutive times into windows."""
    return Windows(
        obs=slots.obs,
        action=slots.action[1:],
        reward=slots.reward[1:],
        cost=slots.cost[1:],
        terminated=slots.terminated[1:],
        valid=slots.valid[1:],
        done=jnp.concatenate([~slots.valid[1:], (slots.terminated | slots.truncated)[-1:]]),
    )
