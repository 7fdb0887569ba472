"""The critic of costs: a network next to the reward's critic, with one output for each constraint."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
from jaxtyping import Array, Float

from spi_plugins.networks.actor_critic import ActorCriticConfig, build_extractor
from spi_plugins.networks.functional import functional
from spi_plugins.networks.mlp import MLP, Dense
from spi_plugins.types import Observation, ObservationSpec, Params


class CostCritic(NamedTuple):
    """Pure functions of the critic's own parameters.

    Attributes:
        init: ``(key) -> params``.
        values: ``(params, obs, features, z) -> [B, K]``, with features and latents of the policy.
    """

    init: Callable[[Array], Params]
    values: Callable[[Params, Observation, Array, Array], Array]


def make_cost_critic(
    spec: ObservationSpec, config: ActorCriticConfig, latent_shape: tuple[int, ...], n_costs: int
) -> CostCritic:
    """Build a critic with the sizes of the reward's critic, or of the actor where the two share their layers.

    It shares at most the feature extractor, or with ``config.latent`` the layers up to the latent, with the policy.
    """
    extractor, features_shape = build_extractor(spec, config)
    n_in = math.prod(features_shape if config.latent is None else latent_shape)
    widths = config.pi if config.vf is None else config.vf
    layers = functional(
        lambda rngs: MLP(n_in, widths, activation=config.activation, orthogonal=config.ortho_init, rngs=rngs)
    )
    head = functional(lambda rngs: Dense((n_in, *widths)[-1], n_costs, gain=1.0, rngs=rngs))
    networks = {"layers": layers, "head": head}
    if config.own_extractor:
        networks["extractor"] = extractor

    def init(key: Array) -> Params:
        keys = jax.random.split(key, len(networks))
        return {name: network.init(key) for (name, network), key in zip(networks.items(), keys, strict=True)}

    def values(params: Params, obs: Observation, features: Array, z: Array) -> Float[Array, "B K"]:
        x = features if config.latent is None else z
        if config.own_extractor:
            x = extractor.apply(params["extractor"], obs)
        hidden = layers.apply(params["layers"], x.reshape(x.shape[0], -1))
        return head.apply(params["head"], hidden)

    return CostCritic(init, values)
