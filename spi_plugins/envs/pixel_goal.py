"""Pixel goal: walk to a green cell around red ones, observed as an image."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, UInt8

from spi_plugins.checks import check_integer, check_number
from spi_plugins.envs.base import Configured, FunctionalEnv, RandomKey, Scalar
from spi_plugins.types import ActionSpec, ArraySpec

_FLOOR, _HAZARD, _GOAL, _AGENT = (24, 24, 48), (208, 48, 48), (48, 208, 96), (240, 240, 240)
_MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))  # up, down, left, right, as rows and columns
_FRAME_SIZE = 320  # pixels; a rendered frame has at least half of them


@dataclasses.dataclass(frozen=True, kw_only=True)
class PixelGoalConfig:
    """Settings that determine the shapes."""

    size: int  # cells along a side
    scale: int  # pixels along a cell's side
    num_hazards: int  # number of red cells

    def __post_init__(self) -> None:
        """Check that everything fits on the board."""
        check_integer("size", self.size, low=2)
        check_integer("scale", self.scale, low=1)
        # All cells but the agent's and the goal's.
        check_integer("num_hazards", self.num_hazards, low=0, high=self.size**2 - 2)


class PixelGoalParams(NamedTuple):
    """What may change without a retrace."""

    slip: float  # probability that a move goes in a uniformly drawn direction instead
    goal_reward: float  # reward for reaching the goal
    step_penalty: float  # subtracted from the reward of each step


class PixelGoalState(NamedTuple):
    """Cells, counted row by row."""

    agent: Int[Array, ""]  # the agent's cell
    goal: Int[Array, ""]  # the goal's cell
    hazards: Int[Array, " N"]  # cells that cost; distinct, and neither the goal nor the agent's first cell


def make_pixel_goal(
    size: int = 6,
    *,
    scale: int = 6,
    num_hazards: int = 4,
    slip: float = 0.1,
    goal_reward: float = 1.0,
    step_penalty: float = 0.02,
    max_episode_steps: int = 50,
) -> FunctionalEnv:
    """Make a board on which a white agent walks to a green goal; red cells cost.

    Agent, goal and hazards start on distinct, uniformly random cells, so each episode is a different task that only the
    image reveals. Actions: 0 up, 1 down, 2 left, 3 right; the border stops the agent. Observation: uint8
    ``[size * scale, size * scale, 3]``, channels last. Reward: ``goal_reward`` for reaching the goal, minus
    ``step_penalty`` for each step. Cost: 1 for each step that ends on a red cell, which does not stop the agent. The
    goal is terminal; episodes are truncated after ``max_episode_steps``.

    At the defaults the image is ``[36, 36, 3]``, the best mean return is 0.911 (dynamic programming, costs
    ignored) and a uniformly random policy's is -0.241; ``tests/spi_plugins/envs/test_pixel_goal_board.py``
    computes both and plays them.

    Args:
        size: cells along a side, at least 2.
        scale: pixels along a cell's side; the Nature network needs an image of at least 36 pixels.
        num_hazards: number of red cells.
        slip: probability in [0, 1] that a move goes in a uniformly drawn direction.
        goal_reward: reward for reaching the goal.
        step_penalty: subtracted from the reward of each step.
        max_episode_steps: steps until truncation, at least 1.

    Raises:
        ValueError: an argument is out of its range.
    """
    config = PixelGoalConfig(size=size, scale=scale, num_hazards=num_hazards)
    check_number("slip", slip, low=0, high=1)
    check_integer("max_episode_steps", max_episode_steps, low=1)
    side = size * scale
    return FunctionalEnv(
        observation_spec=ArraySpec(kind="image", shape=(side, side, 3), dtype="uint8", low=0.0, high=255.0),
        action_spec=ActionSpec(kind="discrete", nvec=(4,)),
        params=PixelGoalParams(float(slip), float(goal_reward), float(step_penalty)),
        initial=Configured(_initial, config),
        observation=Configured(_observation, config),
        transition=Configured(_transition, config),
        reward=_reward,
        cost=_cost,
        terminal=_terminal,
        max_episode_steps=max_episode_steps,
        render=Configured(_render, config),
        name="pixel_goal",
    )


def _initial(config: PixelGoalConfig, key: RandomKey, _params: PixelGoalParams) -> PixelGoalState:
    # The largest of independent uniforms are distinct cells in random order.
    _, cells = jax.lax.top_k(jax.random.uniform(key, (config.size**2,)), 2 + config.num_hazards)
    return PixelGoalState(cells[0], cells[1], cells[2:])


def _observation(
    config: PixelGoalConfig, state: PixelGoalState, _params: PixelGoalParams
) -> UInt8[Array, "side side 3"]:
    cells = jnp.arange(config.size**2)
    hazard = (cells[:, None] == state.hazards[None, :]).any(axis=1)
    # Later entries cover earlier ones.
    kind = jnp.where(hazard, 1, 0)
    kind = jnp.where(cells == state.goal, 2, kind)
    kind = jnp.where(cells == state.agent, 3, kind)
    palette = jnp.array([_FLOOR, _HAZARD, _GOAL, _AGENT], jnp.uint8)
    board = palette[kind].reshape(config.size, config.size, 3)
    return board.repeat(config.scale, axis=0).repeat(config.scale, axis=1)


def _transition(
    config: PixelGoalConfig,
    state: PixelGoalState,
    action: Int[Array, ""],
    key: RandomKey,
    params: PixelGoalParams,
) -> PixelGoalState:
    slip_key, direction_key = jax.random.split(key)
    slips = jax.random.bernoulli(slip_key, params.slip)
    direction = jnp.where(slips, jax.random.randint(direction_key, (), 0, 4), action)
    row_move, column_move = jnp.array(_MOVES)[direction]
    row = jnp.clip(state.agent // config.size + row_move, 0, config.size - 1)
    column = jnp.clip(state.agent % config.size + column_move, 0, config.size - 1)
    return state._replace(agent=row * config.size + column)


def _reward(
    _state: PixelGoalState, _action: Int[Array, ""], after: PixelGoalState, params: PixelGoalParams
) -> Scalar:
    return jnp.where(after.agent == after.goal, params.goal_reward, 0.0) - params.step_penalty


def _cost(
    _state: PixelGoalState, _action: Int[Array, ""], after: PixelGoalState, _params: PixelGoalParams
) -> Scalar:
    return (after.agent == after.hazards).any().astype(jnp.float32)


def _terminal(state: PixelGoalState, _params: PixelGoalParams) -> Bool[Array, ""]:
    return state.agent == state.goal


def _render(
    config: PixelGoalConfig, state: PixelGoalState, params: PixelGoalParams
) -> UInt8[np.ndarray, "height width 3"]:
    """Enlarge the observation."""
    image = np.asarray(_observation(config, jax.tree.map(jnp.asarray, state), params))
    factor = max(1, _FRAME_SIZE // image.shape[0])
    return image.repeat(factor, axis=0).repeat(factor, axis=1)
