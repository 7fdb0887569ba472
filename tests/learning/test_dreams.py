"""Who was trained in dreams alone does well in reality, where those whose steps the model was fitted to do not."""

import functools

import pytest
from dream_learning import TASKS, run

SEEDS = range(3)


@functools.cache
def outcomes(name):
    return [run(name, seed) for seed in SEEDS]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TASKS))
def test_an_agent_of_dreams_plays_well_in_the_real_environment(name):
    returns = [outcome.mean_return for outcome in outcomes(name)]
    assert min(returns) >= TASKS[name].bound, returns


@pytest.mark.slow
def test_the_data_of_cartpole_is_twenty_thousand_steps_of_somebody_who_cannot_balance():
    assert TASKS["cartpole"].n_steps <= 20_000
    assert all(outcome.data_return < 60 for outcome in outcomes("cartpole"))


@pytest.mark.slow
def test_a_limit_that_is_kept_in_dreams_is_kept_in_reality():
    limit = TASKS["safe_pendulum"].limit
    free, safe = outcomes("pendulum"), outcomes("safe_pendulum")
    for mine, other in zip(safe, free, strict=True):
        assert mine.mean_cost <= limit
        assert other.mean_cost > 1.5 * mine.mean_cost
