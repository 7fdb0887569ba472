import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from spi_plugins.distributions import action_distribution, masked
from spi_plugins.types import ActionSpec

DISCRETE = ActionSpec(kind="discrete", nvec=(3,))
MULTI = ActionSpec(kind="multi_discrete", shape=(2,), nvec=(2, 3))
BOX = ActionSpec(kind="box", shape=(2,), low=(-1.0, -1.0), high=(1.0, 1.0))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_categorical_numbers_by_hand():
    d = action_distribution(DISCRETE)
    logits = jnp.log(jnp.asarray([[0.5, 0.25, 0.25]]))
    np.testing.assert_allclose(d.log_prob(logits, jnp.asarray([1])), np.log([0.25]), rtol=1e-6)
    np.testing.assert_allclose(d.entropy(logits), [1.5 * np.log(2)], rtol=1e-6)
    assert d.mode(logits) == 0


def test_multi_discrete_is_a_product():
    d = action_distribution(MULTI)
    logits = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    p, q = softmax(logits[:, :2]), softmax(logits[:, 2:])
    action = np.asarray([[0, 2], [1, 1], [0, 0], [1, 2]], np.int32)
    expected = [np.log(p[i, a]) + np.log(q[i, b]) for i, (a, b) in enumerate(action)]
    np.testing.assert_allclose(d.log_prob(jnp.asarray(logits), jnp.asarray(action)), expected, rtol=1e-5)
    np.testing.assert_allclose(
        d.entropy(jnp.asarray(logits)), stats.entropy(p, axis=-1) + stats.entropy(q, axis=-1), rtol=1e-5
    )


def test_masked_numbers_by_hand():
    d, multi = action_distribution(DISCRETE), action_distribution(MULTI)
    mask = jnp.asarray([[True, False, True]])
    logits = masked(jnp.log(jnp.asarray([[0.2, 0.7, 0.1]])), mask)
    np.testing.assert_allclose(d.log_prob(logits, jnp.asarray([2])), np.log([1 / 3]), rtol=1e-6)
    np.testing.assert_allclose(d.entropy(logits), [np.log(3) - 2 / 3 * np.log(2)], rtol=1e-6)
    assert d.mode(logits) == 0
    assert d.log_prob(logits, jnp.asarray([1])) < -1e30
    only = masked(jnp.asarray([[0.0, 5.0, 1.0, 1.0, 9.0]]), jnp.asarray([[True, False, True, True, False]]))
    np.testing.assert_allclose(multi.log_prob(only, jnp.asarray([[0, 1]])), np.log([0.5]), rtol=1e-6)
    np.testing.assert_allclose(multi.entropy(only), [np.log(2)], rtol=1e-6)


def test_a_masked_policy_has_gradients_and_never_draws_what_is_not_allowed():
    d = action_distribution(DISCRETE)
    mask = jnp.asarray([[True, False, True]])

    def loss(logits):
        return jnp.sum(d.entropy(masked(logits, mask)) + d.log_prob(masked(logits, mask), jnp.asarray([0])))

    gradient = jax.grad(loss)(jnp.asarray([[-200.0, 1e6, -201.0]]))
    assert np.isfinite(gradient).all()
    assert gradient[0, 1] == 0
    assert gradient[0, 0] > 0
    drawn = d.sample(jnp.tile(masked(jnp.asarray([[-1e8, 1e8, -1e8]]), mask), (2000, 1)), jax.random.key(0))
    assert set(np.unique(drawn)) == {0, 2}


def test_gaussian_against_scipy():
    d = action_distribution(BOX)
    rng = np.random.default_rng(0)
    mean, log_std = rng.normal(size=(4, 2)), rng.normal(size=(4, 2))
    action = rng.normal(size=(4, 2))
    parameters = jnp.asarray(np.concatenate([mean, log_std], -1), jnp.float32)
    normal = stats.norm(mean, np.exp(log_std))
    np.testing.assert_allclose(
        d.log_prob(parameters, jnp.asarray(action, jnp.float32)), normal.logpdf(action).sum(-1), rtol=1e-4
    )
    np.testing.assert_allclose(d.entropy(parameters), normal.entropy().sum(-1), rtol=1e-4)


@pytest.mark.parametrize("spec", [DISCRETE, MULTI, BOX], ids=lambda s: s.kind)
def test_samples_have_the_frequency_that_log_prob_says(spec):
    d = action_distribution(spec)
    n = 20_000
    row = np.linspace(-0.5, 0.5, d.n_parameters, dtype=np.float32)
    parameters = jnp.tile(row[None], (n, 1))
    action = d.sample(parameters, jax.random.key(0))
    assert action.shape == (n, *spec.shape)
    # E[-log p] is the entropy: four standard errors.
    surprise = -np.asarray(d.log_prob(parameters, action))
    assert abs(surprise.mean() - float(d.entropy(parameters)[0])) < 4 * surprise.std() / np.sqrt(n)
