"""Turn a rollout into the rows of a gradient step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from spi_plugins.agents.constraint import CostConfig, centered, cost_advantages
from spi_plugins.agents.deep_spi.shuffling import shuffled_range
from spi_plugins.returns import generalized_advantages, normalize
from spi_plugins.types import Observation, PyTree, Rollout


class Minibatch(NamedTuple):
    """Rows of a flattened rollout, ready for the loss."""

    obs: Observation  # [B, ...]
    action: Array  # [B, ...]
    log_prob: Float[Array, " B"]
    value: Float[Array, " B"]
    reward: Float[Array, " B"]
    terminated: Bool[Array, " B"]
    valid: Bool[Array, " B"]
    advantage: Float[Array, " B"]
    target: Float[Array, " B"]
    weight: Float[Array, " B"] | None = None  # of the surrogate, on replayed and imagined rows
    next_obs: Observation | None = None  # [B, ...], for a world model
    action_masks: Bool[Array, "B P"] | None = None  # of the environment, if it has any
    cost_advantage: Float[Array, "B K"] | None = None  # with a constraint
    cost: Float[Array, " B"] | None = None  # for a world model that predicts it
    cost_target: Float[Array, "B K"] | None = None
    old_parameters: Float[Array, "B P"] | None = None  # of the action distribution before the update


class FlatRollout(NamedTuple):
    """Steps with the time and environment axes folded into one, time-major."""

    # All ``T·B`` of them. Without ``final_obs``, ``rows.obs`` still has ``(T + 1)·B`` entries, so that nothing is
    # copied: row ``i`` is followed by row ``i + B``.
    rows: Minibatch
    final_obs: Observation | None  # the folded successors, or ``None``
    n_envs: int  # ``B``


def fold(tree: PyTree) -> PyTree:
    """Make one axis of the first two."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)


def flatten_rollout(
    rollout: Rollout, gamma: float, gae_lambda: float, costs: CostConfig | None = None
) -> FlatRollout:
    """Estimate advantages, those of costs as well with their config, and fold the rollout."""
    done = rollout.terminated | rollout.truncated
    next_value = rollout.value[1:]
    if rollout.final_value is not None:
        next_value = jnp.where(done, rollout.final_value, next_value)
    value = rollout.value[:-1]
    advantage = generalized_advantages(
        rollout.reward, value, next_value, rollout.terminated, done, discount=gamma, gae_lambda=gae_lambda
    )

    rows = Minibatch(
        obs=rollout.obs,
        action=rollout.action,
        log_prob=rollout.log_prob,
        value=value,
        reward=rollout.reward,
        terminated=rollout.terminated,
        valid=rollout.valid,
        advantage=advantage,
        target=advantage + value,
        action_masks=rollout.action_masks,
    )
    if costs is not None:
        assert rollout.costs is not None
        cost_advantage = cost_advantages(rollout.costs, rollout.terminated, done, costs)
        rows = rows._replace(
            cost_advantage=cost_advantage,
            cost=jnp.sum(rollout.costs.cost, axis=-1),
            cost_target=cost_advantage + rollout.costs.value[:-1],
        )
    return FlatRollout(fold(rows), fold(rollout.final_obs), rollout.reward.shape[1])


def shuffled(key: Array, n_rows: int, n_epochs: int, batch_size: int) -> Int[Array, "M B"]:
    """Draw the row numbers of all minibatches: each epoch visits every row once, in a new order.

    If ``B``, the batch size, does not divide ``n_rows``, the last minibatch of an epoch is filled up with rows that do
    not count, whose numbers are ``n_rows`` too large. There are ``M = n_epochs * ceil(n_rows / B)`` minibatches.
    """
    orders = jax.vmap(lambda key: shuffled_range(key, n_rows))(jax.random.split(key, n_epochs))
    if n_rows % batch_size:
        orders = jnp.concatenate([orders, n_rows + orders[:, : -n_rows % batch_size]], axis=1)
    return orders.reshape(-1, batch_size)


def take_minibatch(data: FlatRollout, index: Int[Array, " B"], *, with_next: bool) -> Minibatch:
    """Gather the rows that ``shuffled`` drew, and their successors if a world model needs them."""

    def gather(tree: PyTree, at: Array) -> PyTree:
        return jax.tree.map(lambda x: x[at], tree)

    n_rows = data.rows.reward.shape[0]
    counts = index < n_rows
    filled_up = n_rows % len(index) > 0
    if filled_up:
        index = index % n_rows
    batch: Minibatch = gather(data.rows, index)
    if filled_up:
        batch = batch._replace(valid=batch.valid & counts)
    if not with_next:
        return batch
    if data.final_obs is None:
        return batch._replace(next_obs=gather(data.rows.obs, index + data.n_envs))
    return batch._replace(next_obs=gather(data.final_obs, index))


def normalized_advantages(data: FlatRollout, indices: Int[Array, "M B"]) -> dict[str, Array]:
    """The advantages of all minibatches, each with mean 0 and deviation 1, and those of costs with mean 0.

    They are fields of a ``Minibatch``. All at once, so that devices need not wait for each other's sums in each
    gradient step.
    """

    def one(index: Array) -> dict[str, Array]:
        batch = take_minibatch(data, index, with_next=False)
        found = {"advantage": normalize(batch.advantage, batch.valid)}
        if batch.cost_advantage is not None:
            found["cost_advantage"] = centered(batch.cost_advantage, batch.valid)
        return found

    return jax.vmap(one)(indices)
