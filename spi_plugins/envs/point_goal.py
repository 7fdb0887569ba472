"""Point Goal: a point robot drives from goal to goal and should avoid circles that cost.

A small version of Safety Gym's PointGoal (Ray et al. 2019, "Benchmarking Safe Exploration in Deep Reinforcement
Learning"): point kinematics instead of MuJoCo, shorter episodes, smaller arenas.
"""

import math
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from spi_plugins.checks import check_integer
from spi_plugins.envs.base import Configured, FunctionalEnv, RandomKey, Scalar
from spi_plugins.envs.lidar import lidar
from spi_plugins.envs.point_goal_layout import PointGoalConfig, draw_goal, draw_layout
from spi_plugins.envs.point_goal_render import render
from spi_plugins.types import ActionSpec, ArraySpec

NUM_BINS = 16
HAZARD_REACH = 2.0  # meters; the goal is visible from everywhere
# Cells along a side of the arena, hazards.
_LEVELS = {0: (5, 0), 1: (5, 10), 2: (7, 24)}
_CELL_SIZE = 0.9  # meters


class PointGoalParams(NamedTuple):
    """What may change without a retrace."""

    top_speed: float = 1.0  # speed at full drive, m/s
    speed_lag: float = 0.3  # time constant of the speed, s, at least ``time_step``
    top_spin: float = 3.0  # turning rate at full turn, rad/s
    spin_lag: float = 0.2  # time constant of the turning rate, s, at least ``time_step``
    time_step: float = 0.1  # s
    goal_bonus: float = 1.0  # reward for reaching a goal


_Params: TypeAlias = PointGoalParams
_Action: TypeAlias = Float[Array, "2"]


class PointGoalState(NamedTuple):
    """One arena, in meters, seconds and radians. Its center is the origin."""

    position: Float[Array, "2"]  # the robot's position
    velocity: Float[Array, "2"]  # the robot's velocity, along the arena's axes
    heading: Float[Array, ""]  # the robot's heading, counterclockwise from the x axis, in [-pi, pi]
    spin: Float[Array, ""]  # the robot's turning rate, counterclockwise
    goal: Float[Array, "2"]  # center of the goal
    hazards: Float[Array, "N 2"]  # centers of the hazards
    free: Bool[Array, " cells"]  # cells of the layout without a hazard


def make_point_goal(
    level: int = 1,
    *,
    num_hazards: int | None = None,
    hazard_radius: float = 0.3,
    goal_radius: float = 0.3,
    max_episode_steps: int = 250,
) -> FunctionalEnv:
    """Make an arena in which a point robot drives to one goal after another; circles on the floor cost.

    Each episode draws the robot, the hazards and the first goal anew, each within its own square cell, so nothing
    overlaps. A goal that is reached is replaced by another one, in a cell without a hazard. No state is terminal;
    episodes are truncated after ``max_episode_steps``. Walls stop the robot, hazards do not.

    ===== ============ ======= ======== ===================== ======================
    level arena        cells   hazards  random: return, cost  straight: return, cost
    ===== ============ ======= ======== ===================== ======================
    0     4.5 x 4.5 m  5 x 5   0        0.0, 0                25.2, 0
    1     4.5 x 4.5 m  5 x 5   10       0.0, 14.5             25.1, 18.9
    2     6.3 x 6.3 m  7 x 7   24       0.0, 16.9             25.2, 27.2
    ===== ============ ======= ======== ===================== ======================

    The last columns are means over 4096 episodes with the default arguments, for uniformly random actions and for a
    driver that turns to the goal and heads straight for it. Standard errors are at most 0.02 for returns and 0.6 for
    costs; ``tests/spi_plugins/envs/test_point_goal_arena.py`` reproduces both.

    Action (float32 ``[2]``, clipped to [-1, 1]): drive, from full speed backward to full speed ahead, which the
    speed follows up to 1 m/s with a lag of 0.3 s; and turn, positive to the left, up to 3 rad/s with a lag of 0.2 s. A
    step takes 0.1 s.

    Observation (float32 ``[35]``, relative to the robot, so it contains neither position nor heading):

    ====== ================================================================================================
    0-15   goal lidar in [0, 1]: 1 at the goal's center, 0 at the length of the arena's diagonal; see ``lidar``
    16-31  hazard lidar in [0, 1]: 1 at a hazard's center, 0 at 2 m and beyond; nothing is hidden
    32, 33 speed ahead and to the left, as fractions of the top speed, in [-1, 1]
    34     turning rate to the left, as a fraction of the top rate, in [-1, 1]
    ====== ================================================================================================

    Reward: the decrease of the distance to the goal's center in meters, plus 1 when the robot comes within
    ``goal_radius`` of it. Cost: 1 for each step that ends with the robot, a point, in at least one hazard.

    Args:
        level: 0, 1 or 2, see above.
        num_hazards: number of hazards, by default the level's; at least four cells must remain without one.
        hazard_radius: in meters, at most 0.4.
        goal_radius: in meters, at most 0.4.
        max_episode_steps: steps until truncation, at least 1.

    Raises:
        ValueError: an argument is out of its range.
    """
    if level not in _LEVELS:
        raise ValueError(f"level must be one of {sorted(_LEVELS)}, got {level!r}.")
    check_integer("max_episode_steps", max_episode_steps, low=1)
    cells, hazards = _LEVELS[level]
    config = PointGoalConfig(
        cells=cells,
        cell_size=_CELL_SIZE,
        num_hazards=hazards if num_hazards is None else num_hazards,
        hazard_radius=hazard_radius,
        goal_radius=goal_radius,
    )
    return FunctionalEnv(
        observation_spec=ArraySpec(
            kind="box", shape=(2 * NUM_BINS + 3,), dtype="float32", low=-1.0, high=1.0
        ),
        action_spec=ActionSpec(kind="box", shape=(2,), low=(-1.0, -1.0), high=(1.0, 1.0)),
        params=PointGoalParams(),
        initial=Configured(_initial, config),
        observation=Configured(_observation, config),
        transition=Configured(_transition, config),
        reward=Configured(_reward, config),
        cost=Configured(_cost, config),
        terminal=_terminal,
        max_episode_steps=max_episode_steps,
        render=Configured(render, config),
        name="point_goal",
    )


def _initial(config: PointGoalConfig, key: RandomKey, _params: _Params) -> PointGoalState:
    layout_key, goal_key, heading_key = jax.random.split(key, 3)
    position, hazards, free = draw_layout(config, layout_key)
    return PointGoalState(
        position=position,
        velocity=jnp.zeros(2),
        heading=jax.random.uniform(heading_key, minval=-math.pi, maxval=math.pi),
        spin=jnp.zeros(()),
        goal=draw_goal(config, goal_key, position, free),
        hazards=hazards,
        free=free,
    )


def _observation(config: PointGoalConfig, state: PointGoalState, params: _Params) -> Float[Array, "35"]:
    # The goal's lidar reaches everywhere.
    diagonal = 2 * math.sqrt(2) * config.half_side
    sight = state.position, state.heading
    goal = lidar(state.goal[None, :], *sight, num_bins=NUM_BINS, reach=diagonal)
    hazards = lidar(state.hazards, *sight, num_bins=NUM_BINS, reach=HAZARD_REACH)
    ahead = _direction(state.heading)
    left = jnp.stack([-ahead[1], ahead[0]])
    motion = jnp.stack([state.velocity @ ahead, state.velocity @ left]) / params.top_speed
    spin = state.spin[None] / params.top_spin
    return jnp.concatenate([goal, hazards, jnp.clip(jnp.concatenate([motion, spin]), -1.0, 1.0)])


def _transition(
    config: PointGoalConfig, state: PointGoalState, action: _Action, key: RandomKey, params: _Params
) -> PointGoalState:
    """One semi-implicit Euler step of first-order lags: speeds first, then positions by the new speeds."""
    drive, turn = jnp.clip(action, -1.0, 1.0)
    spin = state.spin + (turn * params.top_spin - state.spin) * (params.time_step / params.spin_lag)
    heading = state.heading + params.time_step * spin
    heading = jnp.mod(heading + math.pi, 2 * math.pi) - math.pi
    wanted = drive * params.top_speed * _direction(heading)
    velocity = state.velocity + (wanted - state.velocity) * (params.time_step / params.speed_lag)
    free_way = state.position + params.time_step * velocity
    position = jnp.clip(free_way, -config.half_side, config.half_side)
    reached = _distance(position, state.goal) <= config.goal_radius
    return state._replace(
        position=position,
        # A wall stops motion toward it.
        velocity=jnp.where(position == free_way, velocity, 0.0),
        heading=heading,
        spin=spin,
        goal=jnp.where(reached, draw_goal(config, key, position, state.free), state.goal),
    )


def _reward(
    config: PointGoalConfig, state: PointGoalState, _action: _Action, after: PointGoalState, params: _Params
) -> Scalar:
    # Distance to the goal before the step, which may have been replaced since.
    distance = _distance(after.position, state.goal)
    bonus = jnp.where(distance <= config.goal_radius, params.goal_bonus, 0.0)
    return _distance(state.position, state.goal) - distance + bonus


def _cost(
    config: PointGoalConfig, _state: PointGoalState, _action: _Action, after: PointGoalState, _params: _Params
) -> Scalar:
    offset = after.hazards - after.position[None, :]
    inside = jnp.hypot(offset[:, 0], offset[:, 1]) <= config.hazard_radius
    return inside.any().astype(jnp.float32)


def _terminal(_state: PointGoalState, _params: _Params) -> Bool[Array, ""]:
    return jnp.zeros((), bool)


def _direction(heading: Float[Array, ""]) -> Float[Array, "2"]:
    return jnp.stack([jnp.cos(heading), jnp.sin(heading)])


def _distance(one: Float[Array, "2"], other: Float[Array, "2"]) -> Scalar:
    return jnp.hypot(one[0] - other[0], one[1] - other[1])
