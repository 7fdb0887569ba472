"""Aggregate metrics over runs and tasks (Agarwal et al. 2021, arXiv:2108.13264).

Each takes scores as one array per task, with runs along the last axis. Leading axes are kept, so that a statistic of
thousands of bootstrap resamples is one call.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.floating[Any]]
#: One array per task, with runs along the last axis.
Scores: TypeAlias = Sequence[Array]
#: A function of one or more ``Scores`` that keeps their leading axes.
Statistic: TypeAlias = Callable[..., Array]


def mean(scores: Scores) -> Array:
    """Mean over tasks of the mean over runs; one outstanding task can dominate it."""
    value: Array = np.mean(_task_means(scores), axis=-1)
    return value


def median(scores: Scores) -> Array:
    """Median over tasks of the mean over runs; half of the tasks could score 0 without changing it."""
    value: Array = np.median(_task_means(scores), axis=-1)
    return value


def iqm(scores: Scores) -> Array:
    """Interquartile mean: the mean of the middle half of all runs of all tasks.

    As in SciPy's ``trim_mean``, a quarter of the runs, rounded down, is left out at each end. A task with more runs
    weighs more.
    """
    pooled = np.sort(np.concatenate(scores, axis=-1), axis=-1)
    cut = pooled.shape[-1] // 4
    value: Array = np.mean(pooled[..., cut : pooled.shape[-1] - cut], axis=-1)
    return value


def optimality_gap(scores: Scores, target: float = 1.0) -> Array:
    """Mean shortfall below ``target``; what a run scores above it does not count. Lower is better."""
    gap: Array = target - np.mean(np.minimum(np.concatenate(scores, axis=-1), target), axis=-1)
    return gap


def performance_profile(scores: Scores, thresholds: npt.ArrayLike) -> Array:
    """Fraction of runs, over all tasks, that score above each threshold (the paper's score distribution).

    Returns:
        An array with an axis of thresholds at its end.
    """
    pooled = np.concatenate(scores, axis=-1)
    above = [np.mean(pooled > threshold, axis=-1) for threshold in np.asarray(thresholds)]
    return np.stack(above, axis=-1)


def probability_of_improvement(scores: Scores, others: Scores) -> Array:
    """Mean over tasks of the probability that a run of ``scores`` beats a run of ``others``; a tie counts as half.

    For each task, this is the Mann-Whitney U statistic divided by the number of pairs.
    """
    wins = []
    for ours, theirs in zip(scores, others, strict=True):
        gaps = ours[..., :, None] - theirs[..., None, :]
        wins.append(np.mean((np.sign(gaps) + 1) / 2, axis=(-2, -1)))
    value: Array = np.mean(wins, axis=0)
    return value


def _task_means(scores: Scores) -> Array:
    return np.stack([np.mean(task, axis=-1) for task in scores], axis=-1)
