"""The statistics are rliable's: same estimates, and same intervals from the same resamples."""

import json
import pathlib

import numpy as np
import pytest

from spi_plugins.statistics import (
    estimate,
    iqm,
    mean,
    median,
    optimality_gap,
    percentile_interval,
    performance_profile,
    probability_of_improvement,
    resample,
)

RECORDED = json.loads((pathlib.Path(__file__).parents[2] / "data/rliable.json").read_text())
A, B = (list(np.array(RECORDED[name]).T) for name in "ab")
THRESHOLDS = RECORDED["thresholds"]
RESAMPLES = RECORDED["resamples"]


def aggregates(scores):
    return np.stack([mean(scores), median(scores), iqm(scores), optimality_gap(scores)], axis=-1)


def profile(scores):
    return performance_profile(scores, THRESHOLDS)


def improvement(scores, others):
    return probability_of_improvement(scores, others)[..., None]


STATISTICS = pytest.mark.parametrize(
    ("name", "statistic", "samples"),
    [
        ("aggregates", aggregates, [A]),
        ("profile", profile, [A]),
        ("improvement", improvement, [A, B]),
    ],
)


def as_rliable_draws(samples):
    """The resamples of rliable with ``np.random.seed(0)``: runs times tasks, one sample after the other."""
    rng = np.random.RandomState(0)
    drawn = [[[] for _ in sample] for sample in samples]
    for _ in range(RESAMPLES):
        for sample, resamples in zip(samples, drawn, strict=True):
            indices = rng.choice(sample[0].size, (sample[0].size, len(sample)))
            for task, chosen, rows in zip(sample, indices.T, resamples, strict=True):
                rows.append(task[chosen])
    return [[np.stack(rows) for rows in resamples] for resamples in drawn]


@STATISTICS
def test_estimates_are_exact(name, statistic, samples):
    np.testing.assert_allclose(statistic(*samples), RECORDED[name]["values"], rtol=1e-13, atol=1e-15)


@STATISTICS
def test_intervals_of_the_same_resamples_are_exact(name, statistic, samples):
    interval = percentile_interval(statistic(*as_rliable_draws(samples)))
    np.testing.assert_allclose(interval, RECORDED[name]["intervals"], rtol=1e-13, atol=1e-15)


@STATISTICS
def test_intervals_of_our_own_resamples_are_close(name, statistic, samples):
    _, low, high = estimate(statistic, *samples, n_resamples=4000)
    widths = np.subtract(*RECORDED[name]["intervals"][::-1])
    # An end of an interval from 400 resamples has a standard error of about a tenth of the width.
    assert (np.abs([low, high] - np.array(RECORDED[name]["intervals"])) <= 0.25 * widths + 1e-9).all()


def test_runs_are_resampled_within_their_task():
    drawn = resample([np.array([1.0, 2.0]), np.array([10.0, 20.0, 30.0])], 500, np.random.default_rng(0))
    assert [task.shape for task in drawn] == [(500, 2), (500, 3)]
    assert set(drawn[0].ravel()) == {1, 2}
    assert set(drawn[1].ravel()) == {10, 20, 30}
    assert drawn[1].mean() == pytest.approx(20, abs=1)
