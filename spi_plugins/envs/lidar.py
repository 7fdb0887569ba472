"""Pseudo-lidar: how near things are in each direction around a robot, as in Safety Gym."""

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
    """Sense points around a robot: 1 where one is at the robot itself, falling to 0 at ``reach``.

    The circle is cut into equal bins, counted counterclockwise from straight ahead. A point at distance ``d``
    gives its bin ``max(0, 1 - d / reach)``. So that turning changes readings smoothly, it also gives the two
    bins beside a share: the next one the fraction of the bin that lies behind it, the last one the rest. A bin
    shows the largest reading; points hide nothing behind them (Ray et al. 2019, "Benchmarking Safe Exploration
    in Deep Reinforcement Learning", section 4, and the pseudo-lidar of its published code).

    Args:
        points: where the things are, in meters; there may be none.
        position: of the robot, in meters.
        heading: of the robot, in radians counterclockwise from the x axis.
        num_bins: number of bins.
        reach: distance in meters from which on nothing is seen.

    Returns:
        Readings in [0, 1], ``[num_bins]``.
    """
    offset = points - position[None, :]
    reading = jnp.maximum(0.0, 1.0 - jnp.hypot(offset[:, 0], offset[:, 1]) / reach)
    angle = jnp.arctan2(offset[:, 1], offset[:, 0]) - heading
    # Bins between a bin's beginning and the point, counterclockwise, in [-1, num_bins - 1).
    along = angle[:, None] * (num_bins / (2 * math.pi)) - jnp.arange(num_bins)[None, :]
    along = jnp.mod(along + 1.0, num_bins) - 1.0
    share = jnp.clip(1.5 - jnp.abs(along - 0.5), 0.0, 1.0)
    readings: Float[Array, " bins"] = jnp.max(share * reading[:, None], axis=0, initial=0.0)
    return readings
