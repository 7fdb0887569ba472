"""No planning: the model's policy. The other end of every comparison, and SPOWL's ablation "policy only"."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from spi_plugins.hyperparameters import Config, configured
from spi_plugins.planners.planner import PlanMetrics, Planner, check_parts
from spi_plugins.types import Params
from spi_plugins.world_models.model import Model, ModelSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicyConfig(Config):
    """``policy`` has no settings."""


def make_policy(**settings: Any) -> Planner:
    """Make the planner that samples the policy, or takes its mode if it shall be deterministic.

    Args:
        **settings: none.

    Raises:
        ValueError: a setting is given.
    """
    configured(PolicyConfig, settings)

    def init(spec: ModelSpec) -> tuple[()]:
        check_parts(planner, spec)
        return ()

    def plan(
        model: Model,
        params: Params,
        z: Shaped[Array, "*Z"],
        state: tuple[()],
        key: Array,
        *,
        deterministic: bool,
    ) -> tuple[Float[Array, " A"], tuple[()], PlanMetrics]:
        check_parts(planner, model.spec)
        assert model.policy is not None
        action = jnp.clip(model.policy(params, z[None], key, deterministic=deterministic), -1.0, 1.0)
        metrics = {"planned": jnp.zeros(())}
        if model.value is not None and model.spec.n_values:
            metrics["value"] = jnp.mean(model.value(params, z[None], action, None))
        if model.cost_value is not None and model.spec.n_cost_values:
            metrics["cost_value"] = jnp.mean(model.cost_value(params, z[None], action, None))
        return action[0], state, metrics

    planner = Planner("policy", frozenset({"policy"}), init, plan)
    return planner
