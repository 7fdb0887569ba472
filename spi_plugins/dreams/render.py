"""Draws a dream: the latent as colored cells, next to it the decoded observation, below them reward and cost.

Pillow writes the labels; without it, frames have none.
"""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

_LABEL = 16  # height of a label
_SIDE = 160  # pixels of each square at the top
_STRIP = 56  # height of each curve in pixels
_BACKGROUND = 245
_INK = (70, 70, 70)
_REWARD = (40, 90, 190)
_COST = (200, 60, 40)
# Low, middle, high.
_COLORS = np.array([(49, 54, 149), (247, 247, 247), (165, 0, 38)], np.float64)


def draw_dream(
    z: NDArray[np.float32],
    bounds: tuple[float, float],
    frame: NDArray[np.float32] | None,
    curves: Iterable[NDArray[np.float32]] | None,
) -> NDArray[np.uint8]:
    """Draw one dream as uint8 ``[height, width, 3]``.

    Args:
        z: the latent, of any shape.
        bounds: the latent values of the first and the last color.
        frame: the decoded observation ``[height, width, channels]`` in 0 to 255, or ``None``.
        curves: reward and cost of the last steps, NaN before the episode's start, or ``None``.
    """
    squares = [_labeled(_square(color_latent(z, bounds)), "latent")]
    if frame is not None:
        # The last of stacked gray frames is the newest.
        newest = frame if frame.shape[-1] == 3 else np.repeat(frame[..., -1:], 3, axis=-1)
        squares.append(_labeled(_square(np.clip(newest, 0, 255).astype(np.uint8)), "decoded"))
    top = np.concatenate(squares, axis=1)
    if curves is None:
        return top
    strips = [
        _labeled(
            _curve(values, top.shape[1], color), name if np.isnan(values[-1]) else f"{name} {values[-1]:.2f}"
        )
        for name, values, color in zip(("reward", "cost"), curves, (_REWARD, _COST), strict=True)
    ]
    return np.concatenate([top, *strips])


def _labeled(picture: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """A picture below a line of text."""
    line = np.full((_LABEL, picture.shape[1], 3), _BACKGROUND, np.uint8)
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError:
        return np.concatenate([line, picture])
    canvas = Image.fromarray(line)
    ImageDraw.Draw(canvas).text((5, 2), text, _INK, ImageFont.load_default(11))
    return np.concatenate([np.asarray(canvas), picture])


def color_latent(z: NDArray[np.float32], bounds: tuple[float, float]) -> NDArray[np.uint8]:
    """Color the latent's entries, row by row, on a nearly square grid."""
    flat = np.asarray(z, np.float64).ravel()
    low, high = bounds
    share = np.clip((flat - low) / max(high - low, 1e-6), 0.0, 1.0)
    width = math.ceil(math.sqrt(len(flat)))
    cells = np.full((math.ceil(len(flat) / width) * width, 3), _BACKGROUND, np.uint8)
    for channel in range(3):
        cells[: len(flat), channel] = np.interp(share, (0.0, 0.5, 1.0), _COLORS[:, channel])
    return cells.reshape(-1, width, 3)


def _square(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Scale an image to the square by nearest neighbors, with a margin."""
    inner = _SIDE - 8
    rows, columns = (np.arange(inner) * size // inner for size in image.shape[:2])
    canvas = np.full((_SIDE, _SIDE, 3), _BACKGROUND, np.uint8)
    canvas[4:-4, 4:-4] = image[rows][:, columns]
    return canvas


def _curve(values: NDArray[np.float32], width: int, color: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Draw bars from the zero line, scaled to the range of the values."""
    canvas = np.full((_STRIP, width, 3), _BACKGROUND, np.uint8)
    known = np.nan_to_num(np.asarray(values, np.float64))
    low, high = min(known.min(), 0.0), max(known.max(), 0.0)
    scale = (_STRIP - 8) / max(high - low, 1e-6)
    zero = 4 + round(high * scale)
    canvas[zero, 4:-4] = 180
    edges = np.linspace(4, width - 4, len(known) + 1).round().astype(int)
    for value, left, right in zip(known, edges, edges[1:], strict=False):
        end = zero - round(value * scale)
        canvas[min(zero, end) : max(zero, end), left : max(right - 1, left + 1)] = color
    return canvas
