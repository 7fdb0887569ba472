"""Reference values are the official SPOWL code's (AIRI-Institute/SPOWL, 967e6cb), or scipy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from spi_plugins.distributions import Bins, TanhNormal, symexp, symlog

BINS = Bins()


def test_symlog_and_its_inverse():
    x = jnp.asarray([-3.2, -0.05, 0.0, 0.37, 100.0, 30000.0])
    np.testing.assert_allclose(
        symlog(x), [-1.4350845, -0.0487901, 0.0, 0.3148108, 4.6151204, 10.308986], rtol=1e-5
    )
    np.testing.assert_allclose(symexp(symlog(x)), x, rtol=1e-5)


@pytest.mark.parametrize(
    ("x", "weights"),
    [
        (0.37, {51: 0.42595, 52: 0.57405}),
        (100.0, {73: 0.92440, 74: 0.07560}),
        (-3.2, {42: 0.17542, 43: 0.82458}),
        (0.0, {50: 1.0}),
        (3e4, {100: 1.0}),
        (-1e9, {0: 1.0}),
    ],
)
def test_two_hot_weights_are_the_official_ones(x, weights):
    got = np.asarray(BINS.two_hot(jnp.float32(x)))
    expected = np.zeros(101)
    for bin_, weight in weights.items():
        expected[bin_] = weight
    np.testing.assert_allclose(got, expected, atol=2e-5)


def test_two_hot_and_back():
    x = jnp.linspace(-50.0, 50.0, 201)
    logits = jnp.log(BINS.two_hot(x) + 1e-30)
    np.testing.assert_allclose(BINS.decode(logits), x, rtol=1e-4, atol=1e-5)


def test_decode_and_cross_entropy_are_the_official_ones():
    one = jnp.zeros(101).at[55].set(3.0)
    line = jnp.linspace(-1.0, 2.0, 101)
    np.testing.assert_allclose(BINS.decode(jnp.stack([one, line])), [0.17225909, 85.34555], rtol=1e-5)
    np.testing.assert_allclose(BINS.cross_entropy(jnp.zeros(101), jnp.float32(0.37)), np.log(101), rtol=1e-6)
    np.testing.assert_allclose(BINS.cross_entropy(line, jnp.float32(0.37)), 4.924777, rtol=1e-6)


def test_log_std_stays_between_its_bounds():
    parameters = jnp.asarray([[0.0, 0.0, 0.0, -1.0, 0.0, 0.5]])
    _, log_std = TanhNormal().moments(parameters)
    np.testing.assert_allclose(log_std[0], [-8.569565, -4.0, -1.227297], rtol=1e-6)


def log_prob_of(action, mean, log_std):
    """By scipy: the density before the tanh over the slope of the tanh."""
    u = np.arctanh(action.astype(np.float64))
    return (stats.norm(mean, np.exp(log_std)).logpdf(u) - np.log(1 - action.astype(np.float64) ** 2)).sum(-1)


def test_log_prob_is_that_of_a_squashed_gaussian():
    policy = TanhNormal(-3.0, 0.0)
    parameters = jnp.asarray(np.random.default_rng(0).normal(size=(50, 6)), jnp.float32)
    mean, log_std = policy.moments(parameters)
    action, log_prob = policy.sample(parameters, jax.random.key(0))
    expected = log_prob_of(np.asarray(action), np.asarray(mean), np.asarray(log_std))
    np.testing.assert_allclose(log_prob, expected, rtol=1e-3, atol=2e-3)
    np.testing.assert_allclose(policy.mode(parameters), np.tanh(mean), rtol=1e-6)


def test_the_official_log_prob_multiplies_by_the_size_of_the_action(monkeypatch):
    noise = jnp.asarray([[0.3, -1.2]])
    monkeypatch.setattr(jax.random, "normal", lambda key, shape: noise)
    # Bounds and raw values that give log deviations of -0.5 and 0.2, and the means of the reference.
    policy = TanhNormal(-10.0, 2.0, official_log_prob=True)
    raw = np.arctanh((np.asarray([-0.5, 0.2]) + 10.0) / 6.0 - 1.0)
    parameters = jnp.asarray([[0.1, -0.4, *raw]], jnp.float32)
    action, log_prob = policy.sample(parameters, jax.random.key(0))
    np.testing.assert_allclose(action[0], [0.274717, -0.953201], rtol=1e-5)
    np.testing.assert_allclose(log_prob[0], -0.296994, rtol=1e-4)
