import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.networks.patches import map_patches, plane_patches


def convolution(x, kernel):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), [(0, 1), (0, 1)], dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


SHAPES = [(7, 7, 3, 8), (5, 3, 2, 4), (2, 6, 1, 1), (1, 1, 2, 2), (3, 1, 2, 2), (1, 4, 2, 2)]


@pytest.mark.parametrize("shape", SHAPES)
def test_patches_times_the_kernel_are_xlas_same_convolution(shape):
    height, width, n_in, n_out = shape
    kernel = jax.random.normal(jax.random.key(0), (2, 2, n_in, n_out))
    x = jax.random.normal(jax.random.key(1), (2, height, width, n_in))
    expected = convolution(x, kernel)
    flat_kernel = kernel.reshape(-1, n_out)
    np.testing.assert_allclose(map_patches(x) @ flat_kernel, expected, atol=1e-5)
    planes = jnp.swapaxes(x.reshape(2, -1, n_in), 1, 2)
    from_planes = jnp.einsum("bkm,ko->bmo", plane_patches(planes, width), flat_kernel)
    np.testing.assert_allclose(from_planes.reshape(expected.shape), expected, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_of_plane_patches_is_their_transpose(shape):
    height, width, features, _ = shape
    x = jax.random.normal(jax.random.key(0), (2, features, height * width))
    y = jax.random.normal(jax.random.key(1), (2, 4 * features, height * width))
    patches, transpose = jax.vjp(lambda x: plane_patches(x, width), x)
    assert float(jnp.sum(patches * y)) == pytest.approx(
        float(jnp.sum(x * transpose(y)[0])), rel=1e-4, abs=1e-4
    )
