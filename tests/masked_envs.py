"""A functional environment whose allowed actions depend on the state; every action that was not allowed costs 1."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spi_plugins.envs.base import Configured, FunctionalEnv
from spi_plugins.types import ActionSpec, ArraySpec

ROOMS = 4


class Rooms(NamedTuple):
    """The settings: ``nvec`` of the actions, and the step of each episode at which nothing is allowed."""

    nvec: tuple[int, ...]
    stuck_at: int


class Position(NamedTuple):
    room: jax.Array
    elapsed: jax.Array


def make_masked(*nvec, stuck_at=-1, max_episode_steps=5, **changes):
    """Rooms that follow each other at random; in room ``r`` value ``r`` of an entry with more values is forbidden."""
    config = Rooms(nvec, stuck_at)
    kind = ("discrete", ()) if len(nvec) == 1 else ("multi_discrete", (len(nvec),))
    env = FunctionalEnv(
        observation_spec=ArraySpec(kind="box", shape=(ROOMS,), dtype="float32", low=0.0, high=1.0),
        action_spec=ActionSpec(kind=kind[0], shape=kind[1], nvec=nvec),
        params=(),
        initial=_initial,
        observation=_observation,
        transition=_transition,
        reward=Configured(_reward, config),
        cost=Configured(_cost, config),
        terminal=_terminal,
        max_episode_steps=max_episode_steps,
        name="Rooms",
        action_masks=Configured(allowed, config),
    )
    return env._replace(**changes)


def allowed(config, state, params):
    values = np.concatenate([np.arange(n) for n in config.nvec])
    return (state.room != values) & (state.elapsed != config.stuck_at)


def _initial(key, params):
    return Position(jax.random.randint(key, (), 0, ROOMS), jnp.int32(0))


def _transition(state, action, key, params):
    return Position(jax.random.randint(key, (), 0, ROOMS), state.elapsed + 1)


def _observation(state, params):
    return jax.nn.one_hot(state.room, ROOMS)


def _reward(config, state, action, after, params):
    return jnp.mean((jnp.ravel(action) == (state.room + 1) % jnp.asarray(config.nvec)).astype(jnp.float32))


def _cost(config, state, action, after, params):
    return jnp.any(jnp.ravel(action) == state.room).astype(jnp.float32)


def _terminal(state, params):
    return jnp.asarray(False)
