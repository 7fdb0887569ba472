"""The map of the confounding grid: its cells and states, where actions lead and what they pay."""

import dataclasses
import functools
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from spi_plugins.checks import check_integer

UP, DOWN, LEFT, RIGHT = range(4)
ROWS = 5
# What an action pays in a state: an index into ``amounts``.
NOTHING, STEP, GOAL, FALL = range(4)

_INTENSITIES = {"#": 50, ">": 100, "!": 100, "I": 120, "@": 180, "W": 200, "G": 220, "F": 220}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConfoundingGridConfig:
    """Settings that determine the shapes."""

    n_path: int  # cells of a corridor, including its end, where the agent decides
    size: int | None  # side of the image in pixels; ``None`` to observe the index of the state

    def __post_init__(self) -> None:
        """Check that there is a corridor, and that every cell of the map is visible."""
        check_integer("n_path", self.n_path, low=2)
        if self.size is not None:
            check_integer("size", self.size, low=self.n_path + 3)  # the columns of the map


class GridLayout(NamedTuple):
    """A map of ``ROWS`` rows; its states are the cells that are not walls, counted row by row. All on the host."""

    # The rows of the map, one character per cell: ``#`` wall, ``I`` start, ``@`` fork, ``>`` corridor, ``!`` a
    # corridor's end, where the agent has to decide, ``W``, ``G`` and ``F`` the ends of an episode
    symbols: tuple[str, ...]
    cells: Int[np.ndarray, " S"]  # the cell of each state, counted row by row
    successors: Int[np.ndarray, "S 4"]  # the state that each action leads to; at the fork, the one above
    payments: Int[np.ndarray, "S 4"]  # ``NOTHING``, ``STEP``, ``GOAL`` or ``FALL`` for each state and action
    terminal: Bool[np.ndarray, " S"]  # the states that end an episode, all absorbing
    start: int  # the state at ``I``
    fork: int  # the state at ``@``
    # The states that the fork leads to: the upper, usual one, and the lower, rare one
    branches: tuple[int, int]
    decisions: tuple[int, int]  # the states at ``!``, upper and lower


@functools.cache
def grid_layout(n_path: int) -> GridLayout:
    """Lay out the map around two corridors of ``n_path`` cells, at least 2, the last of which is ``!``."""
    walls, corridor = "#" * (n_path - 2), "#" + ">" * (n_path - 1) + "!W#"
    symbols = (f"##{walls}G##", corridor, f"I@{walls}F##", corridor, f"##{walls}###")
    flat = np.array(list("".join(symbols)))
    cells = np.flatnonzero(flat != "#")
    kinds = flat[cells]
    paths = np.flatnonzero((kinds == ">") | (kinds == "!"))
    (goal,), (fall,), (start,), (fork,) = (np.flatnonzero(kinds == kind) for kind in "GFI@")
    upper, lower = paths.reshape(2, n_path)[:, -1]

    successors = np.repeat(np.arange(len(cells))[:, None], 4, axis=1)
    payments = np.full_like(successors, NOTHING)
    successors[start, RIGHT] = fork
    successors[fork] = paths[0]
    successors[paths, RIGHT] = paths + 1
    payments[paths, RIGHT] = STEP
    for decision, end, payment in ((upper, goal, GOAL), (lower, fall, FALL)):
        successors[decision, UP] = end
        payments[decision, UP] = payment
    terminal = np.isin(kinds, ["W", "G", "F"])
    for table in (cells, successors, payments, terminal):
        table.flags.writeable = False  # the result is cached
    return GridLayout(
        symbols=symbols,
        cells=cells,
        successors=successors,
        payments=payments,
        terminal=terminal,
        start=int(start),
        fork=int(fork),
        branches=(int(paths[0]), int(paths[n_path])),
        decisions=(int(upper), int(lower)),
    )


def amounts(n_path: int, epsilon: Any, gamma: Any) -> tuple[Any, Any, Any, Any]:
    """What ``NOTHING``, ``STEP``, ``GOAL`` and ``FALL`` pay, for numbers or traced scalars.

    ``GOAL`` is worth ``n_path`` at a corridor's first cell: it compensates for the discount on the way.
    """
    goal = n_path / gamma**n_path
    return 0.0, 1.0, goal, -(2.0 - epsilon) / epsilon * goal


def dynamics(
    n_path: int, epsilon: float, gamma: float
) -> tuple[Float[np.ndarray, "S 4 S"], Float[np.ndarray, "S 4"]]:
    """Probability of the next state, and reward, given state and action; ends of an episode are absorbing."""
    layout = grid_layout(n_path)
    transition = np.eye(len(layout.cells))[layout.successors]
    upper, lower = layout.branches
    transition[layout.fork, :, upper] = 1.0 - epsilon
    transition[layout.fork, :, lower] = epsilon
    return transition, np.array(amounts(n_path, epsilon, gamma))[layout.payments]


def cell_of_pixel(layout: GridLayout, size: int) -> Int[np.ndarray, "size size"]:
    """The cell under the center of each pixel of the whole map, as ``jax.image.resize`` scales to the nearest."""
    columns = len(layout.symbols[0])
    centers = np.arange(size) + 0.5
    rows_of, columns_of = (np.floor(centers * n / size).astype(np.int32) for n in (ROWS, columns))
    return rows_of[:, None] * columns + columns_of[None, :]


def intensities(layout: GridLayout) -> UInt8[np.ndarray, " cells"]:
    """The gray of each cell, counted row by row; ``!`` looks like ``>``, ``F`` like ``G``."""
    return np.array([_INTENSITIES[symbol] for symbol in "".join(layout.symbols)], np.uint8)
