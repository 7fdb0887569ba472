"""The model's policy without planning, for comparisons: SPOWL's ablation "policy only"."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from spi_plugins.hyperparameters import Config, configured
from spi_plugins.planners.planner import Decision, Latent, Planner, head_of
from spi_plugins.types import Params
from spi_plugins.world_models.model import Model, ModelSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicyConfig(Config):
    """``policy`` has no settings."""


def make_policy(**settings: Any) -> Planner:
    """Make the planner that samples the policy, or takes its mode if ``deterministic``. It has no settings.

    Raises:
        ValueError: a setting was passed.
    """
    configured(PolicyConfig, settings)

    def init(spec: ModelSpec) -> tuple[()]:
        return ()

    def plan(
        model: Model, params: Params, z: Latent, state: tuple[()], key: Array, *, deterministic: bool
    ) -> Decision:
        assert model.policy is not None
        action = head_of(model.spec).bounded(model.policy(params, z[None], key, deterministic=deterministic))
        metrics = {"planned": jnp.zeros(())}
        if model.value is not None:
            metrics["value"] = jnp.mean(model.value(params, z[None], action, None))
        if model.cost_value is not None:
            metrics["cost_value"] = jnp.mean(model.cost_value(params, z[None], action, None))
        return action[0], state, metrics

    return Planner("policy", frozenset({"policy"}), init, plan, discrete=True)
