import jax
import numpy as np
import pytest

from spi_plugins.agents.deep_spi.shuffling import shuffled_range


@pytest.mark.parametrize("n", [1, 3, 64, 100])
def test_every_number_appears_once_and_every_place_sees_all_numbers_equally_often(n):
    draws = 20_000
    keys = jax.random.split(jax.random.key(0), draws)
    orders = np.asarray(jax.jit(jax.vmap(lambda key: shuffled_range(key, n)))(keys))
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.broadcast_to(np.arange(n), (draws, n)))
    counts = np.stack([np.bincount(column, minlength=n) for column in orders.T])
    excess = np.sum((counts - draws / n) ** 2 / (draws / n))
    freedom = (n - 1) ** 2  # of chi-square: its mean, and half of its variance
    assert excess <= freedom + 4 * np.sqrt(2 * freedom)


def test_the_rows_of_a_minibatch_are_drawn_without_preference():
    """How many of the first rows, and of every fourth, come first: hypergeometric, as with a sort."""
    keys = jax.random.split(jax.random.key(1), 20_000)
    first = np.asarray(jax.jit(jax.vmap(lambda key: shuffled_range(key, 512)))(keys))[:, :64]
    for chosen, share in ((first < 256, 1 / 2), (first % 4 == 0, 1 / 4)):
        counts = chosen.sum(axis=1)
        variance = 64 * share * (1 - share) * (512 - 64) / (512 - 1)
        assert abs(counts.mean() - 64 * share) < 0.15
        assert abs(counts.var() / variance - 1) < 0.1
