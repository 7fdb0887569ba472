"""High-confidence evaluation: bounds of a policy's return from episodes, whatever encoder or model it has.

They are the only certificates there are for deep networks. They assume that episodes are independent and that the
bounds of a return, which the user names, are right.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spi_plugins.certificates.concentration import bernstein_lower, bernstein_upper
from spi_plugins.certificates.result import Certificate, void

_EPISODES = "episodes are independent"


def evaluate(returns: NDArray[Any], low: float, high: float, error: float = 0.05) -> Certificate:
    """Lower bound of a policy's mean return, from fresh episodes of its own."""
    assumptions = (_EPISODES, f"returns are between {low:g} and {high:g}")
    bound = float(bernstein_lower(returns, low, high, error))
    return Certificate(
        "mean return, from its own episodes", bound, 1 - error, assumptions, vacuity=_vacuity(bound, low)
    )


def evaluate_from(
    returns: NDArray[Any],
    log_ratios: NDArray[Any],
    low: float,
    high: float,
    error: float = 0.05,
    clip: float = 10.0,
) -> Certificate:
    """Lower bound of a new policy's mean return, from episodes of the old one: clipped importance sampling.

    With returns shifted to be at least 0, weights that are clipped from above only make the estimate smaller, so its
    lower bound holds for the new policy (Thomas et al. 2015).

    Args:
        returns: of the old policy's episodes.
        log_ratios: of each episode, the sum over its steps of ``log new - log old`` of the actions taken.
        low: least return there can be.
        high: greatest.
        error: probability of failure.
        clip: largest weight of an episode; chosen before the data are seen.
    """
    assumptions = (
        _EPISODES,
        f"returns are between {low:g} and {high:g}",
        "the old policy's probabilities are known",
    )
    name = "mean return, from the old policy's episodes"
    if not np.isfinite(log_ratios).all():
        return void(
            name, "the new policy excludes actions that were taken, or a ratio is not finite", assumptions
        )
    weights = np.minimum(np.exp(np.asarray(log_ratios, np.float64)), clip)
    weighted = weights * (np.asarray(returns, np.float64) - low)
    bound = low + float(bernstein_lower(weighted, 0.0, clip * (high - low), error))
    return Certificate(name, bound, 1 - error, assumptions, vacuity=_vacuity(bound, low))


def old_value(returns: NDArray[Any], low: float, high: float, error: float = 0.05) -> float:
    """Upper bound of the old policy's mean return."""
    return float(bernstein_upper(returns, low, high, error))


def _vacuity(bound: float, low: float) -> float:
    """1 where the bound is the least return there can be, which needs no episodes."""
    return float(bound <= low)
