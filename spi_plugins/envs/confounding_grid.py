"""The confounding grid: two corridors that look alike, where the same action wins in one and loses in the other.

The toy task of Deep SPI (Delgrange et al. 2026, arXiv:2510.12312) after its published code, with these differences:

1. The step limit truncates; published: it terminates.
2. The agent is also drawn on the cells that end an episode; published: it vanishes there.
3. A step shows the state that it reached; published: the next episode's start, with ``done``, so that the world model
   learns that every end leads back to the start.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, UInt8

from spi_plugins.checks import check_integer, check_number
from spi_plugins.envs.base import Configured, EnvTables, FunctionalEnv, RandomKey, Scalar, no_cost
from spi_plugins.envs.confounding_grid_layout import (
    ConfoundingGridConfig,
    amounts,
    cell_of_pixel,
    dynamics,
    grid_layout,
    intensities,
)
from spi_plugins.envs.confounding_grid_render import render
from spi_plugins.types import ActionSpec, ArraySpec

_AGENT = 255  # its intensity
_State = Int[Array, ""]  # index of a cell that is not a wall, see ``grid_layout``


class ConfoundingGridParams(NamedTuple):
    """What may change without a retrace."""

    epsilon: float  # probability that the fork leads to the lower corridor, in (0, 1)
    gamma: float  # discount for which the rewards at the corridors' ends compensate, in (0, 1)


def make_confounding_grid(
    n_path: int = 5,
    *,
    epsilon: float = 0.2,
    gamma: float = 0.99,
    size: int | None = 84,
    max_episode_steps: int = 200,
) -> FunctionalEnv:
    """Make the grid, on which a representation that confounds two states rules out the best policy.

    The map for ``n_path=5``, where ``#`` is a wall::

        #####G##
        #>>>>!W#
        I@###F##
        #>>>>!W#
        ########

    An episode starts at ``I``. RIGHT leads to ``@``, and every action from there to the first cell of a corridor,
    the lower one with probability ``epsilon``. In a corridor, RIGHT pays 1 and moves one cell, from ``!`` to ``W``. At
    ``!``, UP leads from the upper corridor to ``G`` and pays ``n_path / gamma**n_path``; from the lower one it leads to
    ``F`` and pays ``-(2 - epsilon) / epsilon`` times as much. Other actions have no effect and pay nothing. ``G``,
    ``F`` and ``W`` are terminal; the episode is truncated after ``max_episode_steps``. There is no cost.

    An agent that cannot tell the two ``!`` apart does best to go RIGHT at both. Exact discounted returns from ``I``
    (``confounding_grid_exact`` computes them for any policy):

    ====================== ========= ========= ==========
    policy                 defaults  ε = 0.1   n_path=10
    ====================== ========= ========= ==========
    RIGHT everywhere       4.803     4.803     9.372
    UP at both ``!``       -1.088    -1.088    -1.424
    UP at the upper, best  8.010     8.411     16.575
    ====================== ========= ========= ==========

    Actions: 0 up, 1 down, 2 left, 3 right. Observation: uint8 ``[1, size, size]``, channels first, the map in
    gray with the agent's cell white. It shows the whole state; the corridors differ only in where the agent is.

    Args:
        n_path: cells of a corridor, at least 2.
        epsilon: probability of the lower corridor, in (0, 1).
        gamma: discount for which the rewards of UP compensate, in (0, 1); use the learner's.
        size: side of the image in pixels, at least ``n_path + 3``; ``None`` to observe the index of the state, a
            discrete observation.
        max_episode_steps: steps until truncation, at least 1.

    Raises:
        ValueError: an argument is out of its range.
    """
    config = ConfoundingGridConfig(n_path=n_path, size=size)
    for name, value in (("epsilon", epsilon), ("gamma", gamma)):
        check_number(name, value, low=0, high=1, open_low=True, open_high=True)
    check_integer("max_episode_steps", max_episode_steps, low=1)
    return FunctionalEnv(
        observation_spec=_observation_spec(config),
        action_spec=ActionSpec(kind="discrete", nvec=(4,)),
        params=ConfoundingGridParams(epsilon, gamma),
        initial=Configured(_initial, config),
        observation=Configured(_observation, config),
        transition=Configured(_transition, config),
        reward=Configured(_reward, config),
        cost=no_cost,
        terminal=Configured(_terminal, config),
        max_episode_steps=max_episode_steps,
        render=Configured(render, config),
        name="confounding_grid",
        tables=Configured(_tables, config),
    )


def _observation_spec(config: ConfoundingGridConfig) -> ArraySpec:
    if config.size is None:
        n_states = len(grid_layout(config.n_path).cells)
        return ArraySpec(kind="discrete", shape=(), dtype="int32", nvec=(n_states,))
    shape = (1, config.size, config.size)
    return ArraySpec(kind="image", shape=shape, dtype="uint8", low=0.0, high=255.0, channels_first=True)


def _initial(config: ConfoundingGridConfig, _key: RandomKey, _params: ConfoundingGridParams) -> _State:
    return jnp.asarray(grid_layout(config.n_path).start, jnp.int32)


def _observation(
    config: ConfoundingGridConfig, state: _State, _params: ConfoundingGridParams
) -> UInt8[Array, "1 size size"] | _State:
    if config.size is None:
        return state
    layout = grid_layout(config.n_path)
    cells = cell_of_pixel(layout, config.size)
    background = intensities(layout)[cells]
    agent = jnp.asarray(cells) == jnp.asarray(layout.cells)[state]
    return jnp.where(agent, jnp.uint8(_AGENT), background)[None]


def _transition(
    config: ConfoundingGridConfig,
    state: _State,
    action: Int[Array, ""],
    key: RandomKey,
    params: ConfoundingGridParams,
) -> _State:
    layout = grid_layout(config.n_path)
    after = jnp.asarray(layout.successors, jnp.int32)[state, action]
    falls = (state == layout.fork) & jax.random.bernoulli(key, params.epsilon)
    return jnp.where(falls, jnp.int32(layout.branches[1]), after)


def _reward(
    config: ConfoundingGridConfig,
    state: _State,
    action: Int[Array, ""],
    _after: _State,
    params: ConfoundingGridParams,
) -> Scalar:
    payment = jnp.asarray(grid_layout(config.n_path).payments)[state, action]
    return jnp.array(amounts(config.n_path, *params), jnp.float32)[payment]


def _terminal(
    config: ConfoundingGridConfig, state: _State, _params: ConfoundingGridParams
) -> Bool[Array, ""]:
    ends: Bool[Array, ""] = jnp.asarray(grid_layout(config.n_path).terminal)[state]
    return ends


def _tables(config: ConfoundingGridConfig, params: ConfoundingGridParams) -> EnvTables:
    layout = grid_layout(config.n_path)
    states = jnp.arange(len(layout.cells), dtype=jnp.int32)
    observations = jax.vmap(lambda state: _observation(config, state, params))(states)
    transition, reward = dynamics(config.n_path, *map(float, params))
    start = np.eye(len(states))[layout.start]
    return EnvTables(np.asarray(observations), transition, reward, start, layout.terminal)
