"""The constraint of an on-policy agent: the costs of its episodes, their advantages, and the method's state."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from spi_plugins.agents.gradient_steps import choose
from spi_plugins.constraints.method import ConstraintMethod, Episodes
from spi_plugins.hyperparameters import Config, hyperparameter
from spi_plugins.returns import generalized_advantages, masked_mean
from spi_plugins.types import CostRows, PyTree, Rollout


@dataclasses.dataclass(frozen=True, kw_only=True)
class CostConfig(Config):
    """How costs are estimated; the defaults are OmniSafe's, except for the critic's weight, which is the reward's."""

    cost_gamma: float = hyperparameter(
        0.99, "With a `constraint`, discount of the costs per environment step", low=0, high=1
    )
    cost_gae_lambda: float = hyperparameter(
        0.95, "With a `constraint`, `gae_lambda` of the costs", low=0, high=1
    )
    cost_vf_coef: float = hyperparameter(0.5, "With a `constraint`, weight of the cost critic's loss", low=0)


class Constraint(NamedTuple):
    """What keeps the costs of an agent's episodes below their limits."""

    method: ConstraintMethod
    names: tuple[str, ...]  # of the ``K`` costs, as infos have them
    limits: tuple[float, ...]  # of the mean undiscounted cost of an episode
    n_envs: int
    config: CostConfig = CostConfig()


class ConstraintState(NamedTuple):
    """What a resume needs."""

    method: PyTree  # multipliers and the like
    running: Float[Array, "B K+1"]  # costs and steps of the episodes that are running


def init_constraint(constraint: Constraint) -> ConstraintState:
    """The state before the first rollout."""
    limits = jnp.asarray(constraint.limits, jnp.float32)
    running = jnp.zeros((constraint.n_envs, len(constraint.limits) + 1))
    return ConstraintState(constraint.method.init(limits), running)


def add_steps(
    running: Float[Array, "B C"],
    cost: Float[Array, "T B K"],
    done: Bool[Array, "T B"],
    valid: Bool[Array, "T B"],
) -> tuple[Float[Array, "B C"], Float[Array, " C"], Array]:
    """Add steps to the sums of running episodes.

    Returns:
        The sums of the episodes that run then, the sums over the episodes that ended, and their number.
    """
    rows = jnp.where(valid[..., None], jnp.concatenate([cost, jnp.ones_like(cost[..., :1])], -1), 0.0)

    def step(running: Array, row: tuple[Array, Array]) -> tuple[Array, Array]:
        total = running + row[0]
        ended = row[1][:, None]
        return jnp.where(ended, 0.0, total), jnp.sum(jnp.where(ended, total, 0.0), axis=0)

    running, ended = jax.lax.scan(step, running, (rows, done))
    return running, jnp.sum(ended, axis=0), jnp.sum(done)


def observe(constraint: Constraint, state: ConstraintState, rollout: Rollout) -> ConstraintState:
    """Move the method's state by the episodes that ended in a rollout, if any did."""
    assert rollout.costs is not None
    done = rollout.terminated | rollout.truncated
    running, sums, n = add_steps(state.running, rollout.costs.cost, done, rollout.valid)
    means = sums / jnp.maximum(n, 1)
    limits = jnp.asarray(constraint.limits, jnp.float32)
    moved = constraint.method.update(state.method, Episodes(means[:-1], means[-1]), limits)
    return ConstraintState(choose(n > 0, moved, state.method), running)


def cost_advantages(
    costs: CostRows, terminated: Bool[Array, "T B"], done: Bool[Array, "T B"], config: CostConfig
) -> Float[Array, "T B K"]:
    """Generalized advantage estimates of each cost; add ``value`` for the critic's targets."""
    next_value = costs.value[1:]
    if costs.final_value is not None:
        next_value = jnp.where(done[..., None], costs.final_value, next_value)

    def one(cost: Array, value: Array, next_value: Array) -> Array:
        return generalized_advantages(
            *(cost, value, next_value, terminated, done),
            discount=config.cost_gamma,
            gae_lambda=config.cost_gae_lambda,
        )

    advantages: Array = jax.vmap(one, -1, -1)(costs.cost, costs.value[:-1], next_value)
    return advantages


def centered(x: Float[Array, "B K"], valid: Bool[Array, " B"]) -> Float[Array, "B K"]:
    """Shift each column to mean 0 over the valid rows; 0 elsewhere."""
    columns: Array = jax.vmap(
        lambda column: jnp.where(valid, column - masked_mean(column, valid), 0.0), -1, -1
    )(x)
    return columns


def cost_value_loss(
    value: Float[Array, "B K"], target: Float[Array, "B K"], valid: Bool[Array, " B"]
) -> Float[Array, ""]:
    """Half the squared error of the cost critic, summed over the costs."""
    return masked_mean(jnp.sum(0.5 * (value - target) ** 2, axis=-1), valid)
