"""The world that a ``DeepSPI`` agent has learned, without its actor and critic: the kind ``"deep_mdp"``."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from spi_plugins.networks.actor_critic import ActorCriticConfig, make_actor_critic
from spi_plugins.types import ActionSpec, ObservationSpec, Params
from spi_plugins.world_models.deep_mdp import make_deep_mdp
from spi_plugins.world_models.deep_mdp_networks import DeepMDPConfig
from spi_plugins.world_models.model import Model, ModelSpec, Step, WorldModel, frozen_settings

# The parts of the agent's policy that lead to the latent.
_ENCODER = ("extractor", "latent")


def world_params(params: Params) -> Params:
    """Take the world's part of an agent's parameters."""
    encoder = {name: params["policy"][name] for name in _ENCODER}
    return {"encoder": encoder, "world_model": params["world_model"]}


def make_deep_mdp_world(
    observations: ObservationSpec,
    actions: ActionSpec,
    *,
    encoder: dict[str, Any],
    model: dict[str, Any],
    gamma: float = 0.99,
) -> WorldModel:
    """The world model ``"deep_mdp"``, of any observations and actions, which only an agent fits.

    ``encoder`` has fields of ``networks.actor_critic.ActorCriticConfig``, where those of actor and critic do not
    matter, ``model`` those of ``world_models.deep_mdp_networks.DeepMDPConfig``; ``gamma`` is the agent's discount per
    step.

    Raises:
        ValueError: a setting is out of range.
        TypeError: a setting is unknown.
    """
    policy_config = ActorCriticConfig(**frozen_settings(encoder))
    config = DeepMDPConfig(**frozen_settings(model))
    policy = make_actor_critic(observations, actions, policy_config)
    deep_mdp = make_deep_mdp(policy.latent_shape, actions, config)
    termination = deep_mdp.termination

    def init(key: Array) -> Params:
        policy_key, model_key = jax.random.split(key)
        return world_params({"policy": policy.init(policy_key), "world_model": deep_mdp.init(model_key)})

    def encode(params: Params, obs: Any) -> Array:
        return policy.latent(params["encoder"], policy.features(params["encoder"], obs))

    def step(params: Params, z: Array, action: Array, key: Array | None) -> Step:
        shaped = action.reshape(-1, *actions.shape) if actions.kind == "box" else action
        world = params["world_model"]
        next_z = deep_mdp.predict(world, z, shaped, key)
        ended = jnp.zeros(len(z)) if termination is None else termination(world, next_z)
        cost = jnp.zeros((0, len(z))) if deep_mdp.cost is None else deep_mdp.cost(world, z, shaped)[None]
        return Step(next_z, deep_mdp.reward(world, z, shaped), cost, ended)

    low, high = _latent_bounds(policy_config)
    spec = ModelSpec(
        latent_shape=policy.latent_shape,
        action_size=actions.size,
        horizon=1,
        gamma=gamma,
        n_costs=int(config.cost),
        has_termination=termination is not None,
        nvec=actions.nvec,
        action_shape=actions.shape if actions.nvec else (),
        latent_low=low,
        latent_high=high,
    )
    settings = {
        "encoder": dataclasses.asdict(policy_config),
        "model": dataclasses.asdict(config),
        "gamma": gamma,
    }
    return WorldModel("deep_mdp", settings, Model(spec=spec, encode=encode, step=step), init)


def _latent_bounds(config: ActorCriticConfig) -> tuple[float, float]:
    """Bounds of the last activation; a predicted latent may lie outside, and dreams clip it."""
    if config.categorical_latent is not None:
        return 0.0, 1.0
    widths = config.latent
    if widths is None and config.encoder != "cnn":
        widths = config.pi
    if widths and config.activation == "tanh":
        return -1.0, 1.0
    return -float("inf"), float("inf")
