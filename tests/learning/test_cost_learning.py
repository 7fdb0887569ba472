"""Under PPO-Lagrangian episodes cost what they may, where without a limit they cost a multiple of it."""

import functools

import pytest
from cost_learning import TASKS, run

SEEDS = range(3)


@functools.cache
def outcomes(name, method):
    return [run(TASKS[name], method, seed) for seed in SEEDS]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_seed_ends_within_a_fifth_of_the_limit(name):
    limit = TASKS[name].limit
    costs = [outcome.mean_cost for outcome in outcomes(name, "ppo_lagrangian")]
    assert costs == pytest.approx([limit] * 3, rel=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TASKS))
def test_without_a_limit_every_seed_costs_three_times_as_much(name):
    costs = [outcome.mean_cost for outcome in outcomes(name, "ppo")]
    assert min(costs) >= 3 * TASKS[name].limit, costs
