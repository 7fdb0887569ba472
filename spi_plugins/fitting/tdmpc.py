"""Fits the implicit world model ``"tdmpc"``, its critics and policy included, to a replay buffer."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from spi_plugins.agents.planning import SPOWLState
from spi_plugins.agents.spowl.config import SPOWLConfig
from spi_plugins.agents.spowl.update import make_spowl
from spi_plugins.buffers import Buffer
from spi_plugins.planners.policy import make_policy
from spi_plugins.types import ActionSpec, ArraySpec, ObservationSpec
from spi_plugins.world_models.model import Learner, WorldModel, frozen_settings
from spi_plugins.world_models.tdmpc import TDMPC, make_tdmpc
from spi_plugins.world_models.tdmpc_networks import TDMPCConfig

#: Sizes that a CPU fits in minutes; those of the paper are the defaults of ``TDMPCConfig``.
SMALL = {"encoder_hidden": (128,), "latent_dim": 128, "hidden": (128, 128), "n_costs": 0}


def tdmpc_world(world: TDMPC, learner: Learner | None = None) -> WorldModel:
    """Make a world model of the kind ``"tdmpc"`` from a ``TDMPC``."""
    return WorldModel("tdmpc", dataclasses.asdict(world.config), world.model, world.init, learner)


def make_tdmpc_world(observations: ObservationSpec, actions: ActionSpec, **settings: Any) -> WorldModel:
    """The world model ``"tdmpc"``, of any observations and actions that SPOWL takes.

    ``settings`` are fields of ``world_models.tdmpc.TDMPCConfig``; lists count as tuples. The sizes are ``SMALL`` by
    default, without costs and, for numbers, with a decoder.

    Raises:
        ValueError: a setting is out of range.
        TypeError: a setting is unknown.
    """
    decodes = isinstance(observations, ArraySpec) and observations.kind != "image"
    config = TDMPCConfig(**{**SMALL, "decoder": decodes, **frozen_settings(settings)})
    spowl = SPOWLConfig(model=config, decoder_coef=1.0 if config.decoder else 0.0, batch_size=128)
    agent = make_spowl(observations, actions, spowl, make_policy())

    def init(key: Array, buffer: Buffer) -> SPOWLState:
        del buffer
        return agent.init(key)

    def update(
        state: SPOWLState, buffer: Buffer, n_updates: Array, learning_rate: Array
    ) -> tuple[SPOWLState, dict[str, Array]]:
        state, metrics = agent.update(state, buffer, n_updates, learning_rate)
        return state, {name: x for name, x in metrics._asdict().items() if name.endswith("_loss")}

    learner = Learner(
        init=init, update=update, params=lambda state: jax.tree.map(jnp.asarray, agent.named(state).params)
    )
    return tdmpc_world(make_tdmpc(observations, actions, config), learner)
