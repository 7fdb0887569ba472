"""Calibration of a model of costs, against sums by hand."""

import numpy as np
import pytest

from spi_plugins.statistics.cost_calibration import (
    CostEpisode,
    cost_calibration,
    discounted_sums,
    run_lengths,
)


def episode(cost, predicted, value, terminated=True):
    return CostEpisode(*(np.asarray(x, float) for x in (cost, predicted, value)), terminated)


TWO = [
    episode([0, 1, 1, 0], [0.1, 0.2, 0.9, 0.6], [1, 2, 3, 4]),
    episode([1, 1, 1], [0.4, 0.5, 1.0], [5, 6, 7]),
]


def test_groups_have_the_means_of_their_steps():
    found = cost_calibration(TWO, 0.5, depth=2)
    groups = {
        name: (
            g.n_steps,
            *(float(x.value) for x in (g.cost, g.predicted, g.return_cost, g.cost_value)),
        )
        for name, g in found.groups.items()
    }
    sums = np.array([0.75, 1.5, 1.0, 0.0, 1.75, 1.5, 1.0])
    inside, deep = [1, 2, 4, 5, 6], [2, 5, 6]
    assert groups["all"] == pytest.approx((7, 5 / 7, 3.7 / 7, sums.mean(), 28 / 7))
    assert groups["outside"] == pytest.approx((2, 0.0, 0.35, 0.375, 2.5))
    assert groups["inside"] == pytest.approx((5, 1.0, 0.6, sums[inside].mean(), 23 / 5))
    assert groups["deep inside"] == pytest.approx((3, 1.0, 0.8, sums[deep].mean(), 16 / 3))
    assert float(found.recall.value) == pytest.approx(3 / 5)  # 0.9, 0.5, 1.0 are at least half of a cost
    assert float(found.false_alarms.value) == pytest.approx(1 / 2)  # 0.6 is, 0.1 is not


def test_intervals_resample_episodes():
    """Of two episodes, a quarter of the resamples has only the first, and a quarter only the second."""
    cost = cost_calibration(TWO, 0.5).groups["all"].cost
    assert (float(cost.low), float(cost.high)) == (0.5, 1.0)
    same = cost_calibration([TWO[0]] * 5, 0.5).groups["all"].predicted
    assert float(same.low) == pytest.approx(float(same.high))


def test_where_a_limit_cut_the_episode_only_steps_with_known_costs_count_for_the_critic():
    cut = [episode([1] * 10, [1] * 10, [0] * 10, terminated=False)]
    group = cost_calibration(cut, 0.5, unknown=0.1).groups["all"]
    assert (group.n_steps, group.n_values) == (
        10,
        7,
    )  # 4 steps before the cut, 0.5^4 of the discount is unknown
    expected = np.mean([sum(0.5**k for k in range(n)) for n in range(4, 11)])
    assert float(group.return_cost.value) == pytest.approx(expected)
    assert cost_calibration(cut, 0.5, unknown=1.0).groups["all"].n_values == 10
    assert cost_calibration(cut, 0.999).groups["all"].n_values == 0


def test_sums_and_runs_are_those_of_each_step():
    np.testing.assert_allclose(discounted_sums(np.array([1.0, 0.0, 2.0]), 0.5), [1.5, 1.0, 2.0])
    assert run_lengths(np.array([True, True, False, True])).tolist() == [1, 2, 0, 1]


def test_without_episodes_or_costs_nothing_is_made_up():
    with pytest.raises(ValueError, match="episodes must hold at least one"):
        cost_calibration([], 0.9)
    found = cost_calibration([episode([0, 0], [0, 0], [0, 0])], 0.9)
    assert np.isnan(found.recall.value)
    assert np.isnan(found.groups["inside"].cost.value)
    assert float(found.false_alarms.value) == 0.0
