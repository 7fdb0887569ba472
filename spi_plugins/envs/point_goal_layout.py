"""Where things are in Point Goal: each in its own cell, so that nothing overlaps without rejection sampling."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from spi_plugins.checks import check_integer, check_number

# Meters between the border of a cell and the thing in it, so that the robot can pass between any two hazards.
_GAP = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class PointGoalConfig:
    """Settings that determine the shapes and the layout."""

    cells: int  # square cells along a side of the arena
    cell_size: float  # side of a cell, in meters
    num_hazards: int  # number of circles that cost
    hazard_radius: float  # in meters
    goal_radius: float  # in meters

    def __post_init__(self) -> None:
        """Check that everything fits."""
        # One cell for the robot, one for the goal, and some choice for the next one.
        check_integer("num_hazards", self.num_hazards, low=0, high=self.cells**2 - 4)
        largest = self.cell_size / 2 - _GAP
        for name, radius in (("hazard_radius", self.hazard_radius), ("goal_radius", self.goal_radius)):
            check_number(name, radius, low=0, high=largest, open_low=True)

    @property
    def half_side(self) -> float:
        """Half the side of the arena in meters; its center is the origin."""
        return self.cells * self.cell_size / 2


def draw_layout(
    config: PointGoalConfig, key: Key[Array, ""]
) -> tuple[Float[Array, "2"], Float[Array, "N 2"], Bool[Array, " cells"]]:
    """Draw the positions of the robot and the hazards, uniformly on distinct cells.

    Returns:
        The robot's position, the hazards' centers, and the cells without a hazard, counted row by row.
    """
    count, chosen = config.cells**2, 1 + config.num_hazards
    # One draw for all, because each call of the generator adds compile time.
    drawn = jax.random.uniform(key, (count + 2 * chosen,))
    rank = _ranks(drawn[:count])
    cells = jnp.argmax(rank[None, :] == jnp.arange(chosen)[:, None], axis=1)
    places = drawn[count:].reshape(chosen, 2)
    room = config.cell_size / 2 - _GAP
    robot = _within(config, cells[:1], places[:1], room)[0]
    hazards = _within(config, cells[1:], places[1:], room - config.hazard_radius)
    return robot, hazards, (rank == 0) | (rank >= chosen)


def draw_goal(
    config: PointGoalConfig, key: Key[Array, ""], robot: Float[Array, "2"], free: Bool[Array, " cells"]
) -> Float[Array, "2"]:
    """Draw the goal's center in a cell without a hazard, uniformly among those away from the robot.

    Away means that the cell's center is more than one and a half cells from the robot; without such a cell, any cell
    without a hazard is used.
    """
    drawn = jax.random.uniform(key, (3,))
    offset = _centers(config, jnp.arange(config.cells**2)) - robot[None, :]
    away = free & (jnp.hypot(offset[:, 0], offset[:, 1]) > 1.5 * config.cell_size)
    allowed = jnp.where(away.any(), away, free)
    # The first cell up to which, inclusive, there are that many allowed ones.
    number = jnp.cumsum(allowed)
    cell = jnp.argmax(number > jnp.floor(drawn[0] * number[-1]))
    room = config.cell_size / 2 - _GAP - config.goal_radius
    return _within(config, cell[None], drawn[None, 1:], room)[0]


def _ranks(values: Float[Array, " K"]) -> Int[Array, " K"]:
    """The rank of each value in ascending order; ties are broken by position.

    All pairs are compared because resets are computed at every step, where sorting would take most of the time.
    """
    index = jnp.arange(len(values))
    below = values[None, :] < values[:, None]
    tied = (values[None, :] == values[:, None]) & (index[None, :] < index[:, None])
    return (below | tied).sum(axis=1)


def _centers(config: PointGoalConfig, cells: Int[Array, " K"]) -> Float[Array, "K 2"]:
    column, row = cells % config.cells, cells // config.cells
    return (jnp.stack([column, row], axis=1) + 0.5) * config.cell_size - config.half_side


def _within(
    config: PointGoalConfig, cells: Int[Array, " K"], drawn: Float[Array, "K 2"], room: float
) -> Float[Array, "K 2"]:
    """Map numbers in [0, 1) to points at most ``room`` from the centers of their cells, in x and in y."""
    return _centers(config, cells) + room * (2 * drawn - 1)
