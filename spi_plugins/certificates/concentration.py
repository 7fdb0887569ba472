"""One-sided confidence bounds of a mean.

``bernstein_upper`` and ``bernstein_lower`` hold for any number of samples of any distribution within known bounds:
certificates use them. ``bootstrap_upper`` and ``student_lower`` need no bounds and hold only as samples grow: for
diagnostics. Samples are whole episodes, because the steps of an episode depend on one another.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special  # type: ignore[import-untyped]

from spi_plugins.checks import check_number

Samples = NDArray[Any]  # [..., episodes]


def bernstein_lower(samples: Samples, low: float, high: float, error: float = 0.05) -> NDArray[np.float64]:
    """Lower bound of the mean that fails with probability ``error`` at most: Maurer and Pontil 2009, Theorem 4.

    Args:
        samples: independent ones along the last axis, at least two.
        low: least value that a sample can have.
        high: greatest value.
        error: probability of failure.

    Raises:
        ValueError: there are too few samples, one is out of bounds, or an argument is out of range.
    """
    check_number("error", error, low=0, high=1, open_low=True, open_high=True)
    samples = np.asarray(samples, np.float64)
    n = samples.shape[-1]
    if n < 2:
        raise ValueError(f"samples must be at least 2, got {n}.")
    if samples.size and not (samples.min() >= low and samples.max() <= high):
        raise ValueError(f"samples must be from {low} to {high}, got {samples.min():g} to {samples.max():g}.")
    log = math.log(2 / error)
    deviation = np.sqrt(2 * samples.var(axis=-1, ddof=1) * log / n) + 7 * (high - low) * log / (3 * (n - 1))
    lower: NDArray[np.float64] = np.maximum(samples.mean(axis=-1) - deviation, low)
    return lower


def bernstein_upper(samples: Samples, low: float, high: float, error: float = 0.05) -> NDArray[np.float64]:
    """Upper bound of the mean; see ``bernstein_lower``."""
    return -bernstein_lower(-np.asarray(samples, np.float64), -high, -low, error)


def student_lower(samples: Samples, error: float = 0.05) -> NDArray[np.float64]:
    """Lower bound of the mean by Student's t: exact for normal samples, otherwise approximate."""
    samples = np.asarray(samples, np.float64)
    n = samples.shape[-1]
    if n < 2:
        raise ValueError(f"samples must be at least 2, got {n}.")
    spread = samples.std(axis=-1, ddof=1) / math.sqrt(n)
    lower: NDArray[np.float64] = samples.mean(axis=-1) - special.stdtrit(n - 1, 1 - error) * spread
    return lower


def bootstrap_upper(
    totals: Samples, lengths: Samples, error: float = 0.05, n_resamples: int = 2000, seed: int = 0
) -> float:
    """Upper bound of a mean per step, ``sum(totals) / sum(lengths)``, by the percentile bootstrap over episodes.

    Approximate, and too low for few episodes: it cannot know of errors that no episode has shown.
    """
    totals, lengths = np.asarray(totals, np.float64), np.asarray(lengths, np.float64)
    draws = np.random.default_rng(seed).integers(len(totals), size=(n_resamples, len(totals)))
    ratios = totals[draws].sum(axis=1) / lengths[draws].sum(axis=1)
    return float(np.quantile(ratios, 1 - error))
