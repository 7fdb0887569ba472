"""TD-MPC2 learns, and SPOWL learns nearly as much at a fraction of the cost."""

import functools

import pytest
from planning import TASKS, run


@functools.cache
def outcomes(name, method, n_seeds=3):
    return [run(TASKS[name], method, seed) for seed in range(n_seeds)]


@pytest.mark.slow
def test_tdmpc2_swings_the_pendulum_up_within_15_thousand_steps():
    assert TASKS["pendulum"].steps <= 15_000
    returns = [outcome.mean_return for outcome in outcomes("pendulum", "tdmpc2")]
    assert min(returns) > -250, returns  # uniform actions have about -1200


@pytest.mark.slow
def test_with_discrete_actions_and_ends_spowl_stays_in_the_middle():
    found = outcomes("cost_cartpole", "spowl", 2)
    assert max(outcome.mean_cost for outcome in found) < TASKS["cost_cartpole"].limit, found


# Of 500; uniform actions earn 22.
@pytest.mark.slow
@pytest.mark.xfail(reason="seed 0 drops the pole: docs/results/planning.md")
def test_with_discrete_actions_and_ends_spowl_balances():
    found = outcomes("cost_cartpole", "spowl", 2)
    assert min(outcome.mean_return for outcome in found) > 400, found


@pytest.mark.slow
def test_with_discrete_actions_and_ends_tdmpc2_balances_anywhere():
    found = outcomes("cost_cartpole", "tdmpc2", 2)
    assert min(outcome.mean_return for outcome in found) > 250, found
    assert max(outcome.mean_cost for outcome in found) > 4 * TASKS["cost_cartpole"].limit, found


@pytest.mark.slow
def test_tdmpc2_finds_the_goal_by_images():
    [outcome] = outcomes("pixel_goal", "tdmpc2", 1)
    assert outcome.mean_return > 0.6, outcome


@pytest.mark.slow
def test_spowl_stays_under_the_limit_and_earns_most_of_what_the_unconstrained_agent_does():
    task = TASKS["point_goal"]
    safe, free = outcomes("point_goal", "spowl"), outcomes("point_goal", "tdmpc2")
    for mine, other in zip(safe, free, strict=True):
        assert mine.mean_cost < task.limit
        assert other.mean_cost > 3 * task.limit
        assert mine.mean_return > 0.6 * other.mean_return
