import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.losses.deep_spi import auxiliary_loss, utility
from spi_plugins.losses.ppo import approximate_kl, clipped_surrogate, drift_surrogate, value_loss

RATIO = jnp.asarray([0.5, 0.95, 1.0, 1.05, 2.0, 0.5, 2.0], jnp.float32)
UTILITY = jnp.asarray([1.0, 1.0, -2.0, -1.0, 1.0, -1.0, -1.0], jnp.float32)


def test_clipped_surrogate_by_hand():
    # clip at 0.1: the clipped branch counts for ratio 2 with u > 0 (-1.1) and for 0.5 with u < 0 (0.9).
    expected = [-0.5, -0.95, 2.0, 1.05, -1.1, 0.9, 2.0]
    np.testing.assert_allclose(clipped_surrogate(RATIO, UTILITY, 0.1), expected, rtol=1e-6)


def test_drift_with_coefficient_one_is_the_clipped_surrogate():
    rng = np.random.default_rng(0)
    ratio = jnp.asarray(np.exp(rng.normal(size=1000)), jnp.float32)
    gain = jnp.asarray(rng.normal(size=1000), jnp.float32)
    np.testing.assert_allclose(
        drift_surrogate(ratio, gain, 0.2, 1.0), clipped_surrogate(ratio, gain, 0.2), rtol=1e-5, atol=1e-6
    )
    assert np.all(
        drift_surrogate(ratio, gain, 0.2, 0.5) <= np.asarray(clipped_surrogate(ratio, gain, 0.2)) + 1e-6
    )


@pytest.mark.parametrize(
    ("ratio", "advantage", "weight"),
    # The spec's table: unclipped branches weigh the model's gradient by the ratio, clipped ones by the bound.
    [(1.05, 1.0, 1.05), (0.5, 1.0, 0.5), (1.5, 1.0, 1.1), (0.5, -1.0, 0.9), (1.5, -1.0, 1.5)],
)
def test_clipping_never_switches_the_models_gradient_off(ratio, advantage, weight):
    def loss(model_loss):
        auxiliary = auxiliary_loss(
            model_loss, 0.0 * model_loss, reward_loss_coef=0.01, transition_loss_coef=1.0
        )
        gain = utility(jnp.asarray([advantage], jnp.float32), auxiliary)
        return clipped_surrogate(jnp.asarray([ratio], jnp.float32), gain, 0.1)[0]

    gradient = jax.grad(loss)(jnp.asarray([0.3], jnp.float32))
    np.testing.assert_allclose(gradient, [0.01 * weight], rtol=1e-5)


def test_auxiliary_is_the_weighted_sum():
    one = jnp.ones(2)
    actual = auxiliary_loss(2 * one, 3 * one, reward_loss_coef=0.1, transition_loss_coef=0.01)
    np.testing.assert_allclose(actual, [0.23, 0.23], rtol=1e-6)


def test_value_loss_clips_like_sb3():
    value, old, target = (jnp.asarray(x, jnp.float32) for x in ([2.0, 0.5], [0.0, 0.0], [3.0, 1.0]))
    np.testing.assert_allclose(value_loss(value, old, target, None), [0.5, 0.125])
    np.testing.assert_allclose(value_loss(value, old, target, 1.0), [2.0, 0.125])


def test_kl_estimate_is_never_negative():
    log_ratio = jnp.linspace(-3, 3, 101)
    kl = np.asarray(approximate_kl(log_ratio))
    assert kl.min() >= 0
    np.testing.assert_allclose(kl, np.exp(log_ratio) - 1 - log_ratio, rtol=1e-4, atol=1e-6)
