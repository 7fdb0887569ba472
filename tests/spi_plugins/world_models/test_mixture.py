import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.types import ArraySpec
from spi_plugins.world_models import mixture
from spi_plugins.world_models.mixture import Density, Run

# Two variables with two and three values, a bit, and two components that each prefer some of them.
LAYOUT = (Run(1, 2), Run(1, 3), Run(1, 1))
LOC = jnp.array([[[2.0, 0.0, 0.0, 1.0, 3.0, -1.0], [0.0, 1.0, 2.0, 0.0, -1.0, 2.0]]])
DISCRETE = Density(LOC, None, jnp.log(jnp.array([[0.7, 0.3]])))
NUMBERS = (Run(1, 0),)
COIN = Density(jnp.array([[[-1.0], [1.0]]]), jnp.full((1, 2, 1), 0.1), jnp.log(jnp.array([[0.25, 0.75]])))


def repeated(density, n):
    return jax.tree.map(lambda x: jnp.repeat(x, n, axis=0), density)


def states():
    values = itertools.product(np.eye(2), np.eye(3), ([0.0], [1.0]))
    return jnp.array([np.concatenate(state) for state in values], jnp.float32)


def test_discrete_values_are_drawn_together_as_often_as_their_probability_says():
    all_states = states()
    probability = np.exp(mixture.log_prob(LAYOUT, repeated(DISCRETE, len(all_states)), all_states))
    assert probability.sum() == pytest.approx(1.0, abs=1e-5)
    drawn = mixture.draw(LAYOUT, repeated(DISCRETE, 20_000), jax.random.key(0))
    same = (np.asarray(drawn)[:, None] == np.asarray(all_states)[None]).all(axis=2)
    assert (same.sum(axis=1) == 1).all()
    np.testing.assert_allclose(same.mean(axis=0), probability, atol=0.012)
    # The components are what the variables have in common: a product of the marginals is another distribution.
    mean = np.asarray(mixture.mean(LAYOUT, DISCRETE))[0]
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=0.012)
    assert abs(mean[0] * mean[4] - same[:, [4, 5]].mean(axis=0).sum()) > 0.05


def test_numbers_are_drawn_from_one_side_and_not_from_between():
    drawn = np.asarray(mixture.draw(NUMBERS, repeated(COIN, 4_000), jax.random.key(0)))[:, 0]
    assert (np.abs(np.abs(drawn) - 1.0) < 0.5).all()
    assert (drawn > 0).mean() == pytest.approx(0.75, abs=0.03)
    assert np.std(drawn[drawn > 0]) == pytest.approx(0.1, rel=0.1)
    x = jnp.linspace(-2.0, 2.0, 801)[:, None]
    density = np.exp(mixture.log_prob(NUMBERS, repeated(COIN, 801), x))
    assert np.trapezoid(density, x[:, 0]) == pytest.approx(1.0, abs=1e-3)


def test_the_mode_is_a_state_of_the_likeliest_component():
    np.testing.assert_array_equal(mixture.mode(LAYOUT, DISCRETE)[0], [1, 0, 0, 0, 1, 0])
    np.testing.assert_allclose(mixture.mode(NUMBERS, COIN), [[1.0]])
    np.testing.assert_allclose(mixture.mean(NUMBERS, COIN), [[0.5]], atol=1e-6)


def test_neighbors_of_a_kind_share_a_run():
    grid = ArraySpec(kind="multi_discrete", shape=(3,), dtype="int64", nvec=(4, 4, 2))
    bits = ArraySpec(kind="multi_binary", shape=(2, 2), dtype="int8")
    box = ArraySpec(kind="box", shape=(3,), dtype="float32")
    parts = (("a", grid), ("b", bits), ("c", box))
    assert mixture.layout_of(parts) == (Run(2, 4), Run(1, 2), Run(4, 1), Run(3, 0))
    assert sum(run.size for run in mixture.layout_of(parts)) == 17
