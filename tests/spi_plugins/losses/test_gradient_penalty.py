import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.losses.gradient_penalty import gradient_penalty


def test_penalty_of_a_linear_model_is_the_squared_norm_of_its_summed_weights():
    w_z, w_a = jnp.array([[1.0, 2.0], [0.0, -1.0]]), jnp.array([[3.0, 1.0]])
    z, action = jnp.ones((5, 2)), jnp.ones((5, 1))
    # Gradients of the summed outputs: z (3, -1), a (4): 9 + 1 + 16.
    assert float(gradient_penalty(lambda z, a: z @ w_z + a @ w_a, z, action)) == pytest.approx(26.0)


def test_penalty_is_the_mean_over_samples_of_finite_difference_gradients():
    weights = jax.random.normal(jax.random.key(0), (3, 3))
    z, action = jax.random.normal(jax.random.key(1), (4, 3)), jax.random.normal(jax.random.key(2), (4, 3))

    def model(z, a):
        return jnp.tanh(z @ weights) * a

    points, total, h = np.concatenate([z, action], axis=1), 0.0, 1e-3
    for point in points:
        for i in range(6):
            shift = h * np.eye(6, dtype=np.float32)[i]
            high, low = (jnp.sum(model(p[None, :3], p[None, 3:])) for p in (point + shift, point - shift))
            total += (float(high - low) / (2 * h)) ** 2
    assert float(gradient_penalty(model, z, action)) == pytest.approx(total / 4, rel=1e-2)


def test_gradient_reaches_the_parameters_and_neither_latent_nor_action():
    z, action = jnp.ones((2, 3)), jnp.ones((2, 1))
    to_scale = jax.grad(lambda s: gradient_penalty(lambda z, a: s * jnp.square(z), z, action))(3.0)
    # (2 s)^2 in each of three entries: 12 s^2, derivative 24 s.
    assert float(to_scale) == pytest.approx(72.0)
    to_latent = jax.grad(lambda z: gradient_penalty(lambda z, a: jnp.square(z), z, action))(z)
    assert not np.any(to_latent)
