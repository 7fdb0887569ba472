"""Confidence bounds hold as often as they say: simulated coverage."""

import numpy as np
import pytest

from spi_plugins.certificates.concentration import (
    bernstein_lower,
    bernstein_upper,
    bootstrap_upper,
    student_lower,
)

RUNS, EPISODES = 2000, 60


def costs(rng, shape):
    """Heavy-tailed in [0, 10]: most are 0, some are large."""
    return np.where(rng.random(shape) < 0.1, rng.uniform(0, 10, shape), 0.0)


@pytest.mark.parametrize("error", [0.05, 0.3])
def test_bernstein_bounds_cover_at_their_rate(error):
    samples = costs(np.random.default_rng(0), (RUNS, EPISODES))
    assert (bernstein_lower(samples, 0, 10, error) <= 0.5).mean() >= 1 - error
    assert (bernstein_upper(samples, 0, 10, error) >= 0.5).mean() >= 1 - error
    # And tighten: the width falls at least like 1/sqrt(n).
    narrow = costs(np.random.default_rng(0), (200, 100 * EPISODES))
    assert bernstein_upper(narrow, 0, 10, error).mean() - 0.5 < 0.2 * (
        bernstein_upper(samples, 0, 10, error).mean() - 0.5
    )


def test_students_bound_is_exact_for_normal_samples():
    samples = np.random.default_rng(0).normal(3.0, 2.0, (20 * RUNS, 10))
    missed = (student_lower(samples, 0.05) > 3.0).mean()
    assert missed == pytest.approx(0.05, abs=0.005)


def test_the_bootstrap_is_near_its_rate_for_mild_tails():
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 20, size=(300, 100))
    totals = rng.exponential(0.3, size=lengths.shape) * lengths
    bounds = [bootstrap_upper(t, n, 0.05, n_resamples=400) for t, n in zip(totals, lengths, strict=True)]
    assert 0.89 <= np.mean(np.array(bounds) >= 0.3) <= 0.99


def test_what_cannot_be_bounded_is_refused():
    with pytest.raises(ValueError, match="at least 2, got 1"):
        bernstein_lower(np.ones(1), 0, 1)
    with pytest.raises(ValueError, match=r"from 0 to 1, got 0 to 3"):
        bernstein_lower(np.array([0.0, 3.0]), 0, 1)
    with pytest.raises(ValueError, match="error must be"):
        bernstein_lower(np.ones(3), 0, 1, error=0)
