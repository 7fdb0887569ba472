"""Learning curves of several runs: their mean over a common grid of steps, with bootstrap intervals."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from spi_plugins.statistics.aggregates import Array
from spi_plugins.statistics.bootstrap import percentile_interval


class Band(NamedTuple):
    """Mean of the curves at each of ``steps``, and the bootstrap interval of the mean."""

    steps: Array
    mean: Array
    low: Array
    high: Array


def band(
    curves: Sequence[tuple[Array, Array]],
    *,
    n_points: int = 200,
    confidence: float = 0.95,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Band:
    """Mean curve over runs with a percentile bootstrap interval at each step.

    Curves are interpolated linearly. The band starts where every curve has begun; a run counts until it ends, so the
    mean can jump where a shorter run ends.

    Args:
        curves: steps, increasing, and values of each run; at least one.
        n_points: points of the grid.
        confidence: coverage of the interval.
        n_resamples: bootstrap resamples of the runs.
        seed: of the resampling.
    """
    ends = np.array([steps[-1] for steps, _ in curves])
    start = min(max(steps[0] for steps, _ in curves), ends.max())
    grid = np.linspace(start, ends.max(), n_points)
    values = np.stack([np.interp(grid, steps, heights) for steps, heights in curves])
    means, lows, highs = np.empty((3, n_points))
    rng = np.random.default_rng(seed)
    before = -np.inf
    for end in np.unique(ends):  # between two ends, the same runs count
        here = (grid > before) & (grid <= end)
        alive = values[ends >= end][:, here]
        drawn = alive[rng.integers(len(alive), size=(n_resamples, len(alive)))]
        means[here] = alive.mean(axis=0)
        lows[here], highs[here] = percentile_interval(drawn.mean(axis=1), confidence)
        before = end
    return Band(grid, means, lows, highs)
