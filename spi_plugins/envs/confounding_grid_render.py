"""The confounding grid seen from above, drawn with NumPy."""

from typing import Any

import numpy as np
from jaxtyping import UInt8

from spi_plugins.envs.confounding_grid_layout import ROWS, ConfoundingGridConfig, grid_layout

_CELL = 40  # side in pixels
_COLORS = {
    "#": (52, 56, 66),
    ">": (216, 218, 222),
    "!": (244, 186, 74),
    "I": (166, 196, 232),
    "@": (150, 116, 196),
    "W": (112, 150, 190),
    "G": (64, 176, 96),
    "F": (204, 62, 58),
}
_AGENT, _EDGE = (250, 250, 250), (20, 20, 20)
_AGENT_RADIUS, _EDGE_WIDTH = 12.0, 2.0  # pixels


def render(config: ConfoundingGridConfig, state: Any, params: Any) -> UInt8[np.ndarray, "height width 3"]:
    """Draw the map: corridors light gray, decisions yellow, ends blue, green and red.

    The start is pale blue, the fork violet, the agent a white disc.
    """
    del params
    layout = grid_layout(config.n_path)
    colors = np.array([_COLORS[symbol] for symbol in "".join(layout.symbols)], np.uint8)
    frame = colors.reshape(ROWS, -1, 3).repeat(_CELL, axis=0).repeat(_CELL, axis=1)
    frame[::_CELL] = frame[:, ::_CELL] = _EDGE  # lines between the cells
    row, column = divmod(int(layout.cells[int(state)]), len(layout.symbols[0]))
    y, x = np.indices(frame.shape[:2]) + 0.5
    distance = np.hypot(x - (column + 0.5) * _CELL, y - (row + 0.5) * _CELL)
    frame[distance <= _AGENT_RADIUS + _EDGE_WIDTH] = _EDGE
    frame[distance <= _AGENT_RADIUS] = _AGENT
    return frame
