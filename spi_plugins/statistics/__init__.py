"""Statistics of few runs, after Agarwal et al. 2021, *Deep RL at the Edge of the Statistical Precipice*.

NumPy only. Scores are one array per task, with runs along the last axis; tasks may have different numbers of runs:

>>> import numpy as np
>>> from spi_plugins.statistics import estimate, iqm
>>> scores = [np.array([0.1, 0.4, 0.5]), np.array([0.9, 1.0, 1.2, 0.7])]
>>> value, low, high = estimate(iqm, scores)
"""

from spi_plugins.statistics.aggregates import (
    Scores,
    Statistic,
    iqm,
    mean,
    median,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
)
from spi_plugins.statistics.atari import ATARI_SCORES, atari_game, human_normalized
from spi_plugins.statistics.bootstrap import Estimate, estimate, percentile_interval, resample
from spi_plugins.statistics.curves import Band, band

__all__ = [
    "ATARI_SCORES",
    "Band",
    "Estimate",
    "Scores",
    "Statistic",
    "atari_game",
    "band",
    "estimate",
    "human_normalized",
    "iqm",
    "mean",
    "median",
    "optimality_gap",
    "percentile_interval",
    "performance_profile",
    "probability_of_improvement",
    "resample",
]
