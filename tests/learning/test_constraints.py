"""Every constraint method ends near its limit on Point Goal, with little less return than without one."""

import functools

import pytest
from comparison import METHODS, TASKS, run

TASK, SEEDS = TASKS["point_goal"], range(3)
# One seed or two end up to a tenth above the bound, which ones depends on rounding: docs/results/comparison.md.
ABOVE = pytest.mark.xfail(reason="a seed ends above the bound of the cost", strict=False)
LIMITED = [
    pytest.param(method, marks=[ABOVE] if method in ("lagrangian", "pid", "crpo") else [])
    for method in METHODS
    if method != "ppo"
]
LEAST = 0.85 * 28.9  # of PPO on wrappers that price the reward, docs/results/cost_learning.md


@functools.cache
def outcomes(method):
    return [run(TASK, method, seed).played for seed in SEEDS]


@pytest.mark.slow
@pytest.mark.parametrize("method", LIMITED)
def test_every_seed_ends_within_a_fifth_of_the_limit_or_below(method):
    found = outcomes(method)
    assert max(outcome.mean_cost for outcome in found) <= 1.2 * TASK.limit, found
    assert min(outcome.mean_return for outcome in found) >= LEAST, found


@pytest.mark.slow
def test_without_a_constraint_every_seed_costs_three_times_as_much():
    assert min(outcome.mean_cost for outcome in outcomes("ppo")) >= 3 * TASK.limit
