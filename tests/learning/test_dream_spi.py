"""A policy that learns from nothing but dreams balances the pole, and tells apart what looks alike."""

import confounding_grid
import pytest
from dream_spi import BOUND, RANDOM, outcome


@pytest.mark.slow
def test_dream_spi_balances_the_pole_with_three_seeds():
    returns = [outcome("dream_spi", seed).mean_return for seed in range(3)]
    assert BOUND > 10 * RANDOM
    assert min(returns) >= BOUND, returns


@pytest.mark.slow
def test_dream_spi_does_better_on_the_grid_than_anyone_who_confounds_the_corridors():
    values = [
        confounding_grid.run(confounding_grid.TASKS["dreams"], "dream_spi", seed).value for seed in range(3)
    ]
    assert min(values) >= 6.0, (
        values
    )  # RIGHT everywhere is 4.803, uniform actions 1.774, the best policy 8.010
