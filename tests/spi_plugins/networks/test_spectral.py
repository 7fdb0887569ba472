import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.networks.spectral import FLOOR, conv_norm_bound, dense_norm_bound

dense_bound = jax.jit(dense_norm_bound)
conv_bound = jax.jit(conv_norm_bound, static_argnums=(1, 2))
conv_gradient = jax.jit(jax.grad(conv_norm_bound), static_argnums=(1, 2))


def largest_singular_value(matrices):
    return np.linalg.svd(np.asarray(matrices, np.float64), compute_uv=False)[..., 0]


def operator_norm(kernel, height, width):
    """Norm of a SAME convolution, from its matrix column by column."""
    size = height * width * kernel.shape[2]
    basis = jnp.eye(size).reshape(size, height, width, kernel.shape[2])
    matrix = jax.lax.conv_general_dilated(
        basis, kernel, (1, 1), [(0, 1), (0, 1)], dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return largest_singular_value(matrix.reshape(size, -1))


def torus_norm(kernel, rows, columns):
    """Norm of the circular convolution, by NumPy's Fourier transform."""
    transform = np.fft.fft2(np.asarray(kernel, np.float64), (rows, columns), axes=(0, 1))
    return np.linalg.svd(transform, compute_uv=False).max()


@pytest.mark.parametrize("shape", [(300, 40), (40, 300), (64, 64), (1, 9), (8, 4), (2, 30)])
def test_dense_bound_is_above_the_largest_singular_value_and_within_two_percent(shape):
    kernels = jax.random.normal(jax.random.key(0), (5, *shape))
    ratio = np.asarray(dense_bound(kernels)) / largest_singular_value(kernels)
    assert np.all(ratio >= 1)
    assert np.all(ratio < 1.02)


def test_dense_bound_is_exact_for_orthogonal_and_for_rank_one_kernels():
    orthogonal = jnp.linalg.qr(jax.random.normal(jax.random.key(0), (128, 128)))[0]
    rank_one = jnp.outer(jnp.arange(1.0, 129.0), jnp.arange(-3.0, 5.0))
    exact = np.linalg.norm(np.arange(1.0, 129.0)) * np.linalg.norm(np.arange(-3.0, 5.0))
    assert float(dense_bound(orthogonal)) == pytest.approx(1.0, abs=3e-4)
    assert float(dense_bound(rank_one)) == pytest.approx(exact, rel=3e-4)


def test_bounds_hold_at_extreme_scales():
    dense = jax.random.normal(jax.random.key(0), (12, 7))
    kernel = jax.random.normal(jax.random.key(1), (2, 2, 3, 4))
    for scale in (1e-18, 1e-9, 1e9, 1e18):
        exact = largest_singular_value(dense) * scale
        assert exact <= float(dense_bound(dense * scale)) <= max(1.02 * exact, 2 * FLOOR)
        exact = operator_norm(kernel, 4, 3) * scale
        assert exact <= float(conv_bound(kernel * scale, 4, 3)) <= max(1.3 * exact, 2 * FLOOR)


@pytest.mark.parametrize("n_in", [3, 6])
def test_zero_kernels_have_finite_bounds_and_gradients(n_in):
    assert float(conv_bound(jnp.zeros((2, 2, n_in, 6)), 3, 3)) == pytest.approx(FLOOR)
    assert not np.any(conv_gradient(jnp.zeros((2, 2, n_in, 6)), 3, 3))
    assert float(dense_bound(jnp.zeros((5, n_in)))) == pytest.approx(FLOOR)
    assert not np.any(jax.jit(jax.grad(dense_norm_bound))(jnp.zeros((5, n_in))))


# The smaller channel count decides between the two ways: up to 4, entry by entry.
@pytest.mark.parametrize(
    ("height", "width", "n_in", "n_out"), [(7, 7, 8, 4), (5, 3, 6, 9), (4, 6, 2, 1), (1, 1, 3, 3)]
)
def test_conv_bound_is_above_the_norm_of_the_explicit_operator(height, width, n_in, n_out):
    kernels = jax.random.normal(jax.random.key(0), (4, 2, 2, n_in, n_out))
    for kernel, bound in zip(kernels, np.asarray(conv_bound(kernels, height, width)), strict=True):
        assert operator_norm(kernel, height, width) <= bound


@pytest.mark.parametrize(("n_in", "n_out"), [(8, 4), (16, 32)])
def test_conv_bound_is_within_three_percent_of_the_norm_on_the_torus(n_in, n_out):
    kernel = jax.random.normal(jax.random.key(0), (2, 2, n_in, n_out))
    exact = torus_norm(kernel, 8, 8)
    assert exact <= float(conv_bound(kernel, 7, 7)) <= 1.03 * exact


def test_conv_bound_sees_the_operator_where_the_kernel_matrix_does_not():
    # Four equal taps: the kernel's matrix has norm 2, the operator nearly 4.
    kernel = jnp.ones((2, 2, 1, 1))
    exact = operator_norm(kernel, 7, 7)
    assert exact > 3.8
    assert exact <= float(conv_bound(kernel, 7, 7)) == pytest.approx(4.0, rel=1e-3)


def test_gradient_of_the_dense_bound_is_that_of_the_largest_singular_value():
    kernel = jax.random.normal(jax.random.key(0), (20, 6))
    u, _, vt = np.linalg.svd(np.asarray(kernel), full_matrices=False)
    np.testing.assert_allclose(jax.grad(dense_norm_bound)(kernel), np.outer(u[:, 0], vt[0]), atol=0.02)


@pytest.mark.parametrize(("n_in", "n_out"), [(6, 3), (6, 8)])
def test_gradient_of_the_conv_bound_is_that_of_the_norm_on_the_torus(n_in, n_out):
    kernel = jax.random.normal(jax.random.key(1), (2, 2, n_in, n_out))
    direction = jax.random.normal(jax.random.key(2), kernel.shape)
    shifted = (torus_norm(kernel + sign * 1e-3 * direction, 8, 8) for sign in (1, -1))
    slope = (next(shifted) - next(shifted)) / 2e-3
    assert float(jnp.sum(conv_gradient(kernel, 7, 7) * direction)) == pytest.approx(slope, rel=0.05, abs=0.01)


def test_normalized_kernel_does_not_depend_on_scale_and_its_gradient_is_orthogonal_to_the_kernel():
    kernel = jax.random.normal(jax.random.key(0), (2, 2, 6, 4))
    weights = jax.random.normal(jax.random.key(1), kernel.shape)
    loss = jax.jit(jax.value_and_grad(lambda k: jnp.sum(weights * k / conv_norm_bound(k, 5, 5))))
    value, gradient = loss(kernel)
    assert float(value) == pytest.approx(float(loss(7.0 * kernel)[0]), rel=1e-5)
    cosine = jnp.sum(gradient * kernel) / jnp.linalg.norm(gradient.ravel()) / jnp.linalg.norm(kernel.ravel())
    assert abs(float(cosine)) < 1e-3
