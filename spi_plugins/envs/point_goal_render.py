"""Point Goal seen from above, drawn with NumPy."""

import math
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from spi_plugins.envs.point_goal_layout import PointGoalConfig

_SIZE = 300  # side in pixels
_WALL, _FLOOR = (90, 90, 90), (250, 250, 250)
_HAZARD, _GOAL, _ROBOT, _NOSE = (120, 120, 220), (60, 190, 90), (200, 60, 50), (250, 230, 90)
_ROBOT_RADIUS = 0.1  # meters, in the picture only: the robot is a point
_MARGIN = 0.15  # meters around the arena


def render(config: PointGoalConfig, state: Any, params: Any) -> UInt8[np.ndarray, "300 300 3"]:
    """Draw the arena, y upward: the goal green, hazards blue, the robot red with a yellow nose."""
    del params
    half = config.half_side + _MARGIN
    ticks = (np.arange(_SIZE) + 0.5) / _SIZE * 2 * half - half
    x, y = np.meshgrid(ticks, -ticks)
    position, heading = np.asarray(state.position, float), float(state.heading)
    nose = position + 0.7 * _ROBOT_RADIUS * np.array([math.cos(heading), math.sin(heading)])

    frame = np.full((_SIZE, _SIZE, 3), _WALL, np.uint8)
    frame[(np.abs(x) <= config.half_side) & (np.abs(y) <= config.half_side)] = _FLOOR
    for center in np.asarray(state.hazards, float):
        frame[_disc(x, y, center, config.hazard_radius)] = _HAZARD
    frame[_disc(x, y, np.asarray(state.goal, float), config.goal_radius)] = _GOAL
    frame[_disc(x, y, position, _ROBOT_RADIUS)] = _ROBOT
    frame[_disc(x, y, nose, 0.4 * _ROBOT_RADIUS)] = _NOSE
    return frame


def _disc(
    x: Float[np.ndarray, "size size"],
    y: Float[np.ndarray, "size size"],
    center: Float[np.ndarray, "2"],
    radius: float,
) -> Bool[np.ndarray, "size size"]:
    inside: Bool[np.ndarray, "size size"] = (x - center[0]) ** 2 + (y - center[1]) ** 2 <= radius**2
    return inside
