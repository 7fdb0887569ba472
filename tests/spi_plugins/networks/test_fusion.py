import jax
import jax.numpy as jnp
import numpy as np

from spi_plugins.networks.dense import group_sort
from spi_plugins.networks.fusion import materialized, materialized_gradient


def test_what_is_materialized_stays_the_same_whatever_its_numbers():
    x = jnp.array([0.0, -0.0, 1.5, -jnp.inf, jnp.nan])
    for function in (materialized, materialized_gradient):
        np.testing.assert_array_equal(jax.jit(function)(x), x)
    for first in (0.0, -3.0, jnp.nan):
        np.testing.assert_array_equal(jax.jit(materialized)(x.at[0].set(first)), x.at[0].set(first))


def test_the_gradient_of_group_sort_is_that_of_minimum_and_maximum():
    def plain(x):
        left, right, rest = x[..., :2], x[..., 2:4], x[..., 4:]
        return jnp.concatenate([jnp.minimum(left, right), jnp.maximum(left, right), rest], axis=-1)

    x = jnp.array([[3.0, -1.0, 2.0, 4.0, 7.0], [1.0, 5.0, 1.0, -5.0, 0.0]])  # the second row has a tie
    weights = jnp.arange(10.0).reshape(2, 5) ** 2
    got, want = (jax.grad(lambda x, f=f: jnp.sum(weights * f(x)))(x) for f in (group_sort, plain))
    np.testing.assert_allclose(got, want)
