"""Stratified bootstrap intervals (Agarwal et al. 2021): runs are resampled within each task."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spi_plugins.statistics.aggregates import Array, Scores, Statistic


class Estimate(NamedTuple):
    """A statistic of the runs at hand, and its percentile interval; arrays if the statistic is one."""

    value: Array
    low: Array
    high: Array


def estimate(
    statistic: Statistic,
    *samples: Scores,
    confidence: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """A statistic with its stratified percentile bootstrap interval.

    The interval says how much the statistic would vary with other seeds on the same tasks. With one run per task
    there is nothing to resample, and it has no width; with three it is rough.

    Args:
        statistic: for example ``iqm``, or ``probability_of_improvement`` of two samples.
        *samples: scores, resampled independently of one another.
        confidence: coverage of the interval.
        n_resamples: bootstrap resamples.
        seed: of the resampling; the same scores always have the same interval.

    Raises:
        ValueError: there are no tasks, or a task has no runs.
    """
    for sample in samples:
        if not sample or any(task.shape[-1] == 0 for task in sample):
            raise ValueError("scores must have at least one task, and at least one run of each.")
    rng = np.random.default_rng(seed)
    resampled = [resample(sample, n_resamples, rng) for sample in samples]
    low, high = percentile_interval(statistic(*resampled), confidence)
    return Estimate(statistic(*samples), low, high)


def resample(scores: Scores, n_resamples: int, rng: np.random.Generator) -> list[Array]:
    """Draw runs with replacement within each task; ``[runs]`` becomes ``[n_resamples, runs]``."""
    return [task[rng.integers(task.size, size=(n_resamples, task.size))] for task in scores]


def percentile_interval(values: npt.NDArray[Any], confidence: float = 0.95) -> tuple[Array, Array]:
    """The central interval with that share of the values along the first axis."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail], axis=0)
    return low, high
