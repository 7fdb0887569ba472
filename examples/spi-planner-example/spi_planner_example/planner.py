"""Random shooting with a safety filter."""

import dataclasses

import jax
import jax.numpy as jnp

from spi_plugins.hyperparameters import Config, configured, hyperparameter
from spi_plugins.planners.estimate import estimate
from spi_plugins.planners.planner import Planner


@dataclasses.dataclass(frozen=True, kw_only=True)
class SafeShootingConfig(Config):
    """Settings of the planner."""

    num_samples: int = hyperparameter(512, "Sequences to draw", low=1)
    horizon: int | None = hyperparameter(None, "Steps of a sequence; `None`: the model's", low=1)
    limit: float = hyperparameter(0.1, "Sequences that cost less are safe")


def make_safe_shooting(**settings):
    """Make the planner. Settings are the fields of ``SafeShootingConfig``."""
    config = configured(SafeShootingConfig, settings)

    def init(spec):
        return ()  # decisions are independent

    def plan(model, params, z, state, key, *, deterministic):
        sample_key, model_key = jax.random.split(key)
        shape = (config.horizon or model.spec.horizon, config.num_samples, model.spec.action_size)
        actions = jax.random.uniform(sample_key, shape, minval=-1.0, maxval=1.0)
        value, _, cost = estimate(model, params, z, actions, model_key, with_cost=True)
        safe = cost < config.limit
        score = jnp.where(jnp.any(safe), jnp.where(safe, value, -jnp.inf), -cost)
        best = jnp.argmax(score)
        metrics = {
            "value": value[best],
            "cost_value": cost[best],
            "n_feasible": jnp.sum(safe).astype(jnp.float32),
            "planned": jnp.ones(()),
        }
        return actions[0, best], state, metrics

    return Planner("safe_shooting", frozenset({"cost"}), init, plan)
