"""A policy that learns from nothing but dreams balances the pole."""

import pytest
from dream_spi import BOUND, RANDOM, outcome


@pytest.mark.slow
def test_dream_spi_balances_the_pole_with_three_seeds():
    returns = [outcome("dream_spi", seed).mean_return for seed in range(3)]
    assert BOUND > 10 * RANDOM
    assert min(returns) >= BOUND, returns
