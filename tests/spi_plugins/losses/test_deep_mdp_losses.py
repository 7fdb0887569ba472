import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.losses.deep_mdp import (
    balance,
    categorical_transition_loss,
    deterministic_transition_loss,
    expected_deviation,
    mixture_transition_loss,
    sample_transition_loss,
    smooth_l1,
)


def numpy_smooth_l1(e):
    return np.where(np.abs(e) < 1, 0.5 * e**2, np.abs(e) - 0.5)


def test_smooth_l1_is_quadratic_inside_one_and_linear_outside():
    np.testing.assert_allclose(
        smooth_l1(jnp.array([-3.0, -1.0, -0.5, 0.0, 0.5, 2.0])), [2.5, 0.5, 0.125, 0, 0.125, 1.5]
    )
    slopes = jax.vmap(jax.grad(smooth_l1))(jnp.array([-3.0, -0.5, 0.0, 0.5, 1.0, 2.0]))
    np.testing.assert_allclose(slopes, [-1, -0.5, 0, 0.5, 1, 1])


def test_sampled_loss_sums_over_the_latent_and_deterministic_loss_averages():
    prediction = jnp.array([[[0.5, 3.0]], [[0.0, 0.0]]])
    target = jnp.zeros((2, 1, 2))
    assert sample_transition_loss(prediction, target).tolist() == [2.625, 0.0]
    assert deterministic_transition_loss(prediction, target).tolist() == [1.3125, 0.0]


def test_expected_deviation_is_the_mean_distance_to_a_normal():
    loc, scale, target = 0.3, 0.7, 1.1
    draws = loc + scale * np.random.default_rng(0).standard_normal(1_000_000)
    value = expected_deviation(jnp.array([loc]), jnp.array([scale]), jnp.array([target]))
    assert float(value[0]) == pytest.approx(np.abs(target - draws).mean(), abs=2e-3)
    # At the mean: sigma sqrt(2 / pi).
    assert float(
        expected_deviation(jnp.array([2.0]), jnp.array([0.5]), jnp.array([2.0]))[0]
    ) == pytest.approx(0.398942)


def test_mixture_loss_is_smooth_l1_of_the_weighted_expected_deviation():
    rng = np.random.default_rng(0)
    loc, scale = rng.normal(size=(4, 3, 6)), rng.uniform(0.1, 2, size=(4, 3, 6))
    target, weights = rng.normal(size=(4, 6)), rng.dirichlet(np.ones(3), size=4)
    draws = rng.standard_normal(20001)
    draws = (draws - draws.mean()) / draws.std()
    deviation = np.abs(target[:, None, :, None] - loc[..., None] - scale[..., None] * draws).mean(axis=-1)
    expected = numpy_smooth_l1((weights[:, :, None] * deviation).sum(axis=1)).sum(axis=-1)
    value = mixture_transition_loss(
        *(jnp.asarray(x, jnp.float32) for x in (loc, scale, np.log(weights))),
        jnp.asarray(target, jnp.float32),
    )
    np.testing.assert_allclose(value, expected, rtol=5e-3)


def test_expected_deviation_has_finite_gradients_with_a_vanishing_scale():
    gradients = jax.grad(lambda *x: jnp.sum(expected_deviation(*x)), argnums=(0, 1, 2))(
        jnp.zeros(2), jnp.array([1e-6, 1e-6]), jnp.array([0.0, 5.0])
    )
    assert all(np.isfinite(g).all() for g in gradients)


def test_categorical_loss_counts_half_for_each_wrong_entry_and_averages_over_categories():
    target = jax.nn.one_hot(jnp.array([[0, 1, 2, 0]]), 3)
    prediction = jax.nn.one_hot(jnp.array([[0, 1, 1, 1]]), 3)
    # Two wrong categories of four, each with two entries off by one: 2 * 2 * 0.5 / 4.
    assert categorical_transition_loss(prediction, target).tolist() == [0.5]


def test_gradient_reaches_prediction_and_target():
    gradients = jax.grad(lambda p, t: sample_transition_loss(p, t)[0], argnums=(0, 1))(
        jnp.array([[0.5, 3.0]]), jnp.zeros((1, 2))
    )
    assert [g.tolist() for g in gradients] == [[[0.5, 1.0]], [[-0.5, -1.0]]]


def test_balance_shares_the_gradient_as_the_two_stopped_losses_do():
    p, t = jax.random.normal(jax.random.key(0), (2, 3, 5))

    def ours(p, t):
        return jnp.sum(sample_transition_loss(*balance(p, t, 0.8)))

    def theirs(p, t):
        stop = jax.lax.stop_gradient
        return jnp.sum(0.8 * sample_transition_loss(p, stop(t)) + 0.2 * sample_transition_loss(stop(p), t))

    value, gradients = jax.value_and_grad(ours, argnums=(0, 1))(p, t)
    expected, expected_gradients = jax.value_and_grad(theirs, argnums=(0, 1))(p, t)
    assert float(value) == pytest.approx(float(expected), rel=1e-6)
    for a, b in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    assert balance(p, t, None)[0] is p
