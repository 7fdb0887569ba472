import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from spi_plugins.networks.categorical import CategoricalLatent, straight_through


def test_value_is_the_one_hot_of_the_mode_and_the_gradient_the_softmaxs():
    logits = jnp.array([[0.5, 2.0, -1.0]])
    weights = jnp.array([[1.0, -2.0, 3.0]])
    assert straight_through(logits).tolist() == [[0.0, 1.0, 0.0]]
    gradient = jax.grad(lambda x: jnp.sum(weights * straight_through(x)))(logits)
    p = np.exp([0.5, 2.0, -1.0]) / np.exp([0.5, 2.0, -1.0]).sum()
    np.testing.assert_allclose(
        gradient[0], p * (np.array([1.0, -2.0, 3.0]) - p @ [1.0, -2.0, 3.0]), rtol=1e-5
    )


def test_samples_are_one_hots_in_the_classes_proportions():
    logits = jnp.broadcast_to(jnp.log(jnp.array([0.2, 0.5, 0.3])), (20000, 3))
    samples = np.asarray(straight_through(logits, jax.random.key(0)))
    assert set(np.unique(samples)) == {0.0, 1.0}
    assert np.all(samples.sum(axis=1) == 1)
    np.testing.assert_allclose(samples.mean(axis=0), [0.2, 0.5, 0.3], atol=0.02)


def test_latent_head_emits_one_hot_maps_and_passes_gradients_to_its_input():
    head = CategoricalLatent(10, 4, 3, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (5, 10))
    z = head(x)
    assert z.shape == (5, 4, 3)
    assert z.dtype == jnp.float32
    assert np.all(np.asarray(z).sum(axis=-1) == 1)
    gradient = jax.grad(lambda x: jnp.sum(head(x)[..., 0]))(x)
    assert float(jnp.min(jnp.max(jnp.abs(gradient), axis=1))) > 0
