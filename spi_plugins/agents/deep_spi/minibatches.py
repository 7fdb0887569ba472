"""From a rollout to the rows that a gradient step sees."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from spi_plugins.returns import generalized_advantages
from spi_plugins.types import Observation, PyTree, Rollout


class Minibatch(NamedTuple):
    """Rows of a flattened rollout, ready for the loss."""

    obs: Observation  # [B, ...]
    next_obs: Observation | None  # [B, ...], absent without a world model
    action: Array  # [B, ...]
    log_prob: Float[Array, " B"]
    value: Float[Array, " B"]
    reward: Float[Array, " B"]
    terminated: Bool[Array, " B"]
    valid: Bool[Array, " B"]
    advantage: Float[Array, " B"]
    target: Float[Array, " B"]
    weight: Float[Array, " B"] | None = None  # of the surrogate, on replayed and imagined rows


def flatten_rollout(rollout: Rollout, gamma: float, gae_lambda: float) -> tuple[Minibatch, Observation]:
    """Advantages, and the time and environment axes folded into one, time-major.

    Returns:
        A ``Minibatch`` of all ``T·B`` rows whose ``obs`` is still the ``(T + 1)·B`` long array (so that nothing is
        copied: row ``i`` is followed by row ``i + B``) and the folded ``final_obs`` (or ``None``).
    """
    done = rollout.terminated | rollout.truncated
    next_value = rollout.value[1:]
    if rollout.final_value is not None:
        next_value = jnp.where(done, rollout.final_value, next_value)
    value = rollout.value[:-1]
    advantage = generalized_advantages(
        rollout.reward, value, next_value, rollout.terminated, done, discount=gamma, gae_lambda=gae_lambda
    )

    def fold(x: Array) -> Array:
        return x.reshape(-1, *x.shape[2:])

    return Minibatch(
        obs=jax.tree.map(fold, rollout.obs),
        next_obs=None,
        action=fold(rollout.action),
        log_prob=fold(rollout.log_prob),
        value=fold(value),
        reward=fold(rollout.reward),
        terminated=fold(rollout.terminated),
        valid=fold(rollout.valid),
        advantage=fold(advantage),
        target=fold(advantage + value),
    ), jax.tree.map(fold, rollout.final_obs)


def shuffled(key: Array, n_rows: int, n_epochs: int, batch_size: int) -> Int[Array, "M B"]:
    """Row numbers of all minibatches of all epochs: each epoch visits every row once, in an order of its own.

    Args:
        key: of the orders.
        n_rows: rows to visit, a multiple of ``batch_size``.
        n_epochs: passes over them.
        batch_size: ``B``; there are ``M = n_epochs * n_rows / B`` minibatches.
    """
    orders = jax.vmap(lambda key: jax.random.permutation(key, n_rows))(jax.random.split(key, n_epochs))
    return orders.reshape(-1, batch_size)


def take_minibatch(
    rows: Minibatch, final_obs: Observation | None, index: Int[Array, " B"], n_envs: int, *, with_next: bool
) -> Minibatch:
    """Gather the rows at ``index``, and their successors if a world model wants them."""

    def gather(tree: PyTree, at: Array) -> PyTree:
        return jax.tree.map(lambda x: x[at], tree)

    next_obs = None
    if with_next:
        next_obs = gather(rows.obs, index + n_envs) if final_obs is None else gather(final_obs, index)
    batch: Minibatch = gather(rows._replace(next_obs=None), index)
    return batch._replace(next_obs=next_obs)
