"""PPO of Stable-Baselines3, trained only in dreams of random worlds, nearly does the best that can be done there."""

import pytest
from dream_chance import BOUND, TASKS, run


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", sorted(TASKS))
def test_an_agent_of_dreams_comes_near_the_optimum_of_a_random_world(name, seed):
    outcome = run(name, seed)
    assert outcome.score >= BOUND, outcome
