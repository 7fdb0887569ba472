"""TD-MPC2 learns, and SPOWL learns nearly as much at a fraction of the cost."""

import functools

import pytest
from planning import TASKS, run

SEEDS = range(3)


@functools.cache
def outcomes(name, method):
    return [run(TASKS[name], method, seed) for seed in SEEDS]


@pytest.mark.slow
def test_tdmpc2_swings_the_pendulum_up_within_15_thousand_steps():
    assert TASKS["pendulum"].steps <= 15_000
    returns = [outcome.mean_return for outcome in outcomes("pendulum", "tdmpc2")]
    assert min(returns) > -250, returns  # uniform actions have about -1200


@pytest.mark.slow
def test_spowl_stays_under_the_limit_and_earns_most_of_what_the_unconstrained_agent_does():
    task = TASKS["point_goal"]
    safe, free = outcomes("point_goal", "spowl"), outcomes("point_goal", "tdmpc2")
    for mine, other in zip(safe, free, strict=True):
        assert mine.mean_cost < task.limit
        assert other.mean_cost > 3 * task.limit
        assert mine.mean_return > 0.6 * other.mean_return
