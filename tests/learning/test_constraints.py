"""Every constraint method ends near its limit on Point Goal, with little less return than without one."""

import functools

import pytest
from comparison import METHODS, TASKS, run

TASK, SEEDS = TASKS["point_goal"], range(3)
LIMITED = [method for method in METHODS if method != "ppo"]
MOST = 1.2 * TASK.limit
LEAST = 0.85 * 28.9  # of PPO on wrappers that price the reward, docs/results/cost_learning.md


@functools.cache
def outcomes(method):
    return [run(TASK, method, seed).played for seed in SEEDS]


@pytest.mark.slow
@pytest.mark.parametrize("method", LIMITED)
def test_the_seeds_together_end_within_a_fifth_of_the_limit_and_each_earns_its_return(method):
    found = outcomes(method)
    assert sum(outcome.mean_cost for outcome in found) / len(found) <= MOST, found
    assert min(outcome.mean_return for outcome in found) >= LEAST, found


@pytest.mark.slow
@pytest.mark.parametrize("method", LIMITED)
def test_every_seed_ends_within_a_fifth_of_the_limit_or_below(method, request):
    if method in ("lagrangian", "pid", "crpo"):
        # Which seeds end above, by up to a tenth, depends on rounding: docs/results/comparison.md.
        request.applymarker(pytest.mark.xfail(reason="a seed ends above the bound", strict=False))
    found = outcomes(method)
    assert max(outcome.mean_cost for outcome in found) <= MOST, found


@pytest.mark.slow
def test_without_a_constraint_every_seed_costs_three_times_as_much():
    assert min(outcome.mean_cost for outcome in outcomes("ppo")) >= 3 * TASK.limit
