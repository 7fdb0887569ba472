"""Is a policy worse than another? A sequential test on the returns, or costs, of episodes, with a stated error rate."""

import math
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import special  # type: ignore[import-untyped]

from spi_plugins.certificates.concentration import bernstein_lower, bernstein_upper

Verdict: TypeAlias = Literal["worse", "fine", "undecided"]


class Interval(NamedTuple):
    """Bounds of a difference of means; each fails with its error's probability."""

    low: float
    high: float


def difference(
    new: NDArray[Any], old: NDArray[Any], error: float, bounds: tuple[float, float] | None = None
) -> Interval:
    """Bounds of ``mean(new) - mean(old)``, each of which fails with probability ``error``.

    With ``bounds`` of a single value they hold for any distribution (empirical Bernstein); without, they are Welch's,
    which are exact for normal samples, widened where the samples are skewed (the first Edgeworth term of a studentized
    mean; Hall 1992, section 3.5). Two samples without any variance are taken to have no other values.
    """
    if bounds is not None:
        return Interval(
            float(bernstein_lower(new, *bounds, error / 2) - bernstein_upper(old, *bounds, error / 2)),
            float(bernstein_upper(new, *bounds, error / 2) - bernstein_lower(old, *bounds, error / 2)),
        )
    parts = [np.var(x, ddof=1) / len(x) for x in (new, old)]
    center, spread = float(np.mean(new) - np.mean(old)), math.sqrt(sum(parts))
    if spread == 0:
        return Interval(center, center)
    freedom = sum(parts) ** 2 / sum(p**2 / (len(x) - 1) for p, x in zip(parts, (new, old), strict=True))
    quantile = float(special.stdtrit(freedom, 1 - error))
    third = [np.mean((x - np.mean(x)) ** 3) / len(x) ** 2 for x in (new, old)]
    skew = float(third[0] - third[1]) / spread**3 * (2 * quantile**2 + 1) / 6
    return Interval(
        center - spread * (quantile + max(0.0, -skew)), center + spread * (quantile + max(0.0, skew))
    )


def judge(found: Interval, tolerance: float) -> Verdict:
    """Whether the new mean is shown to be more than ``tolerance`` below the old one, shown not to be, or neither."""
    if found.high < -tolerance:
        return "worse"
    return "fine" if found.low >= -tolerance else "undecided"


def errors(total: float, looks: int) -> Iterator[float]:
    """The error of each look of the first check, the second and so on, forever; all of them sum to ``total``."""
    check = 0
    while True:
        check += 1
        yield total / (check * (check + 1)) / looks
