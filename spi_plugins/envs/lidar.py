"""Pseudo-lidar: how close things are in each direction around a robot, as in Safety Gym."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float


def lidar(
    points: Float[Array, "N 2"],
    position: Float[Array, "2"],
    heading: Float[Array, ""],
    *,
    num_bins: int,
    reach: float,
) -> Float[Array, " bins"]:
    """Sense points around a robot: readings are 1 at the robot's position and fall to 0 at distance ``reach``.

    The circle is divided into equal bins, counted counterclockwise from straight ahead. A point at distance ``d``
    adds the reading ``max(0, 1 - d / reach)`` to its bin. So that readings change smoothly when the robot turns, the
    two neighboring bins get a share of it: the next one the fraction of the bin that lies before the point, the
    previous one the rest. A bin shows the largest reading; points do not hide one another (Ray et al. 2019,
    "Benchmarking Safe Exploration in Deep Reinforcement Learning", section 4, and the pseudo-lidar of its published
    code).

    Args:
        points: positions of the things, in meters; may be empty.
        position: the robot's position, in meters.
        heading: the robot's heading, in radians counterclockwise from the x axis.
        num_bins: number of bins.
        reach: distance in meters beyond which nothing is sensed.

    Returns:
        Readings in [0, 1], ``[num_bins]``.
    """
    offset = points - position[None, :]
    reading = jnp.maximum(0.0, 1.0 - jnp.hypot(offset[:, 0], offset[:, 1]) / reach)
    angle = jnp.arctan2(offset[:, 1], offset[:, 0]) - heading
    # Distance in bins from a bin's start to the point, counterclockwise, in [-1, num_bins - 1).
    along = angle[:, None] * (num_bins / (2 * math.pi)) - jnp.arange(num_bins)[None, :]
    along = jnp.mod(along + 1.0, num_bins) - 1.0
    share = jnp.clip(1.5 - jnp.abs(along - 0.5), 0.0, 1.0)
    readings: Float[Array, " bins"] = jnp.max(share * reading[:, None], axis=0, initial=0.0)
    return readings
