"""Deep SPI's toy task, evaluated exactly: 8.010 is the best value, 4.803 that of going RIGHT everywhere."""

import numpy as np
import pytest
from confounding_grid import METHODS, TASKS, Task, run


def test_the_curve_starts_at_the_uniform_policys_value_and_ends_in_the_outcome():
    outcome = run(Task("MlpPolicy", {"size": 12}, 1024, {}, {}), "ppo", 0)
    (steps, value, *chances, distance, spread), last = outcome.curve[0], outcome.curve[-1]
    assert steps == 0
    assert value == pytest.approx(1.774, abs=0.1)
    np.testing.assert_allclose(chances, 0.25, atol=0.02)
    assert 0 < distance < 4 * spread
    assert last == (1024, *outcome[2:7])


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_at_the_published_defaults_every_method_comes_near_the_best_policy(method):
    assert run(TASKS["default"], method, 0).value >= 7.5


@pytest.mark.slow
def test_in_two_latent_numbers_only_a_world_model_keeps_the_decisions_apart():
    outcomes = {method: [run(TASKS["narrow"], method, seed) for seed in range(5)] for method in METHODS}
    # Medians, because a seed may be lucky or not: see docs/results/confounding_grid.md.
    values = {method: np.median([o.value for o in of]) for method, of in outcomes.items()}
    distances = {method: np.median([o.distance for o in of]) for method, of in outcomes.items()}
    assert values["ppo"] <= 4.803, values
    assert min(values["deep_spi"], values["deep_mdp"]) >= 7.5, values
    assert distances["ppo"] <= 0.1 < 1.0 <= min(distances["deep_spi"], distances["deep_mdp"]), distances
