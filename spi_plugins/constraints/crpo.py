"""CRPO: steps on the reward, or on a cost while that is above its limit (Xu et al., 2021, arXiv:2011.05869).

After a rollout whose episodes kept all limits, the policy maximizes the reward; otherwise it minimizes the cost that is
furthest above its limit. There are no multipliers. The paper's steps are natural policy gradients; these are PPO's.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from spi_plugins.constraints.method import ConstraintMethod, Episodes
from spi_plugins.hyperparameters import Config, configured, hyperparameter


@dataclasses.dataclass(frozen=True, kw_only=True)
class CRPOConfig(Config):
    """Settings of ``crpo``."""

    tolerance: float = hyperparameter(
        0.0, "Cost of an episode above the limit that is still taken for within it, η in the paper", low=0
    )


def make_crpo(**settings: Any) -> ConstraintMethod:
    """Make the method from fields of ``CRPOConfig``; its state is 1 for the cost to be minimized, else 0.

    Raises:
        ValueError: a setting is unknown or out of range.
    """
    config = configured(CRPOConfig, settings, "constraint_kwargs of 'crpo'")

    def update(state: Array, episodes: Episodes, limits: Array) -> Array:
        excess = episodes.cost - limits - config.tolerance
        worst = jax.nn.one_hot(jnp.argmax(excess), len(excess))
        return jnp.where(jnp.max(excess) > 0, worst, jnp.zeros_like(worst))

    def advantage(chosen: Float[Array, " K"], reward: Array, cost: Array) -> Array:
        return jnp.where(jnp.sum(chosen) > 0, -cost @ chosen, reward)

    return ConstraintMethod(init=jnp.zeros_like, update=update, advantage=advantage)
