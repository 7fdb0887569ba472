import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from spi_plugins.networks.blocks import DensityOutputs, LipschitzOutputs
from spi_plugins.networks.hashed_bits import draw_seed
from spi_plugins.world_models.densities import (
    clipped_noise,
    lipschitz_sample,
    sample,
    softplus,
)


def test_clipped_noise_has_the_moments_and_the_end_masses_of_a_clipped_normal():
    noise = np.asarray(clipped_noise(draw_seed(jax.random.key(0)), (1_000_001,)), np.float64)
    tail = stats.norm.sf(1.0)
    variance = stats.truncnorm(-1, 1).var() * (1 - 2 * tail) + 2 * tail
    assert variance == pytest.approx(0.5161, abs=1e-4)
    assert noise.min() == -1
    assert noise.max() == 1
    assert np.mean(noise == 1) == pytest.approx(tail, abs=2e-3)
    assert np.mean(noise == -1) == pytest.approx(tail, abs=2e-3)
    assert noise.mean() == pytest.approx(0, abs=3e-3)
    assert noise.var() == pytest.approx(variance, abs=2e-3)


def test_clipped_noise_between_its_ends_is_normal():
    noise = np.asarray(clipped_noise(draw_seed(jax.random.key(1)), (200_000,)), np.float64)
    inside = noise[np.abs(noise) < 1]
    quantiles = np.linspace(0.02, 0.98, 25)
    np.testing.assert_allclose(
        np.quantile(inside, quantiles), stats.truncnorm(-1, 1).ppf(quantiles), atol=0.01
    )


def test_clipped_noise_has_any_shape_and_uncorrelated_neighbors():
    assert clipped_noise(draw_seed(jax.random.key(0)), (3, 5, 7)).shape == (3, 5, 7)
    noise = np.asarray(clipped_noise(draw_seed(jax.random.key(2)), (400_000,)))
    for lag in (1, 2, 200_000):
        assert abs(np.corrcoef(noise[:-lag], noise[lag:])[0, 1]) < 0.01
    assert not np.array_equal(noise, clipped_noise(draw_seed(jax.random.key(3)), (400_000,)))


@pytest.mark.parametrize("x", [-90.0, -3.0, -1e-3, 0.0, 0.5, 4.0, 90.0])
def test_softplus_and_its_derivatives_are_those_of_the_logistic_function(x):
    sigmoid = 1 / (1 + np.exp(-x))
    assert float(softplus(jnp.array([x]))[0]) == pytest.approx(np.logaddexp(0, x), rel=1e-6, abs=1e-7)
    derivative = jax.grad(lambda x: jnp.sum(softplus(x)))
    assert float(derivative(jnp.array([x]))[0]) == pytest.approx(sigmoid, rel=1e-5, abs=1e-30)
    second = jax.grad(lambda x: jnp.sum(derivative(x)))(jnp.array([x]))
    assert float(second[0]) == pytest.approx(sigmoid * (1 - sigmoid), rel=1e-4, abs=1e-7)


def mixture(components):
    """Blocks of a location and as many scales, and log weights."""
    blocks = jax.random.normal(jax.random.key(0), (3, 2, 1 + components, 4, 5))
    return LipschitzOutputs(blocks, jax.nn.log_softmax(jax.random.normal(jax.random.key(1), (3, components))))


def reference_sample(blocks, log_weights, key, constant):
    noise = clipped_noise(draw_seed(key), blocks.shape)[:, :, 1:]
    deviations = (jnp.logaddexp(blocks[:, :, 1:], 0.0) + 1e-6) * noise
    weighted = jnp.exp(log_weights)[:, None, :, None, None] * deviations
    return 0.5 * constant * (blocks[:, :, 0] + jnp.sum(weighted, axis=2))


def test_lipschitz_mixture_samples_the_weighted_average_of_all_components():
    out, key = mixture(4), jax.random.key(7)
    np.testing.assert_allclose(
        lipschitz_sample(out, key, 2.0), reference_sample(*out[:2], key, 2.0), rtol=1e-4, atol=1e-5
    )


def test_gradient_of_a_lipschitz_sample_is_that_of_the_plain_formula():
    key, weights = jax.random.key(7), jax.random.normal(jax.random.key(2), (3, 2, 4, 5))
    ours, expected = (
        jax.grad(lambda out, f=f: jnp.sum(weights * f(out)))(mixture(4))
        for f in (
            lambda out: lipschitz_sample(out, key, 3.0),
            lambda out: reference_sample(*out[:2], key, 3.0),
        )
    )
    for got, want in zip(ours[:2], expected[:2], strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_lipschitz_normal_is_half_location_and_half_clipped_deviation():
    out = LipschitzOutputs(jnp.zeros((1, 1, 2, 1, 100_000)).at[:, :, 0].set(3.0), None)
    draws = np.asarray(lipschitz_sample(out, jax.random.key(0), 1.0))
    assert draws.min() == pytest.approx(1.5 - 0.5 * np.log(2), abs=1e-5)
    assert draws.max() == pytest.approx(1.5 + 0.5 * np.log(2), abs=1e-5)
    assert draws.mean() == pytest.approx(1.5, abs=0.01)


@pytest.mark.parametrize("flat", [False, True])
def test_with_scales_of_the_action_the_location_has_all_of_the_constant(flat):
    batch, places = (1, 5) if flat else (3, 5)
    blocks = jax.random.normal(jax.random.key(0), (batch, 2, 1, 4, places))
    scale = jax.random.normal(jax.random.key(1), (batch, 2, 3, 4, places if flat else 1))
    logits = jax.random.normal(jax.random.key(2), (places if flat else batch, 3))
    out, key = LipschitzOutputs(blocks, jax.nn.log_softmax(logits), scale), jax.random.key(7)
    noise = clipped_noise(draw_seed(key), (batch, 2, 3, 4, places))
    weights = jax.nn.softmax(logits)
    weights = weights.T[None, None, :, None] if flat else weights[:, None, :, None, None]
    deviation = jnp.sum(weights * (jnp.logaddexp(scale, 0.0) + 1e-6) * noise, axis=2)
    expected = 3.0 * blocks[:, :, 0] + 1.5 * deviation
    np.testing.assert_allclose(lipschitz_sample(out, key, 3.0), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(lipschitz_sample(out, None, 3.0), 3.0 * blocks[:, :, 0], rtol=1e-6)


def test_plain_mixture_blends_unclipped_components():
    loc = jnp.stack([jnp.full((1, 1, 1, 50_000), 1.0), jnp.full((1, 1, 1, 50_000), 4.0)], axis=2)
    out = DensityOutputs(loc, jnp.zeros_like(loc), jnp.log(jnp.array([[0.25, 0.75]])))
    draws = np.asarray(sample(out, jax.random.key(0)))
    assert draws.shape == (1, 1, 1, 50_000)
    assert draws.mean() == pytest.approx(3.25, abs=0.02)
    assert draws.std() == pytest.approx(np.log(2) * np.hypot(0.25, 0.75), abs=0.01)
    assert draws.max() > 3.25 + 3 * draws.std()


def test_without_a_scale_the_sample_is_the_location():
    loc = jax.random.normal(jax.random.key(0), (2, 1, 1, 3, 4))
    np.testing.assert_allclose(
        lipschitz_sample(LipschitzOutputs(loc, None), jax.random.key(0), 3.0), 3.0 * loc[:, :, 0]
    )
    np.testing.assert_allclose(sample(DensityOutputs(loc, None, None), jax.random.key(0)), loc[:, :, 0])
