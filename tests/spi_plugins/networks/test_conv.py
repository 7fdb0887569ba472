"""The loop-safe convolution against the plain one."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from spi_plugins.networks import conv as conv_module
from spi_plugins.networks.conv import conv2d


def plain(x, kernel, stride):
    return lax.conv_general_dilated(
        x.astype(kernel.dtype), kernel, (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def value_and_gradients(f, x, kernel):
    """``y``, ``dx`` and ``dkernel`` for a random cotangent."""
    y, pullback = jax.vjp(f, x, kernel)
    return y, *pullback(normal(7, *y.shape))


def normal(seed, *shape):
    """NumPy's, which compiles nothing."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def inputs(batch, height, width, channels, kh, kw, out):
    return normal(0, batch, height, width, channels), normal(1, kh, kw, channels, out) / np.sqrt(
        kh * kw * channels
    )


# batch, height, width, channels, kh, kw, out, stride
SHAPES = [
    (64, 9, 9, 4, 3, 3, 4, 1),  # a multiple of the chunk
    (37, 10, 10, 4, 4, 4, 8, 2),  # prime: the last chunk is filled up
    (9, 84, 84, 4, 8, 8, 4, 4),  # one more than a chunk; the first layer of the Atari network
    (1, 20, 20, 8, 4, 4, 8, 2),
    (3, 23, 18, 3, 5, 4, 2, 3),  # pixels that no window reaches, kernel no multiple of the stride
    (19, 11, 13, 3, 3, 2, 5, 2),
    (5, 7, 7, 2, 1, 1, 3, 2),  # stride past the kernel: gaps
    (2, 4, 5, 1, 4, 5, 1, 1),  # one window an image
]


@pytest.mark.parametrize("shape", SHAPES)
def test_value_and_gradients_equal_those_of_the_plain_convolution(shape):
    *sizes, stride = shape
    x, kernel = inputs(*sizes)

    @jax.jit
    def both(x, k):
        actual = value_and_gradients(lambda x, k: conv2d(x, k, stride=stride), x, k)
        return actual, value_and_gradients(lambda x, k: plain(x, k, stride), x, k)

    for a, e in zip(*both(x, kernel), strict=True):
        assert a.dtype == e.dtype
        np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch", [8, 37])
def test_gradients_inside_a_scan_equal_those_of_the_plain_convolution_outside(batch):
    x, kernel = inputs(batch, 12, 12, 3, 4, 4, 6)

    def step(f):
        def loss(x, kernel):
            return jnp.sum(jnp.tanh(f(x, kernel)))

        return jax.grad(loss, argnums=(0, 1))

    def body(carry, x):
        dx, dkernel = step(lambda x, k: conv2d(x, k, stride=2))(x, carry)
        return carry - 0.01 * dkernel, dx

    xs = jnp.stack([x, x + 1, x * 2])
    last, dxs = jax.jit(lambda k: lax.scan(body, k, xs))(kernel)
    plain_step = jax.jit(step(lambda x, k: plain(x, k, 2)))
    for x, dx in zip(xs, dxs, strict=True):
        expected_dx, dkernel = plain_step(x, kernel)
        np.testing.assert_allclose(dx, expected_dx, rtol=1e-3, atol=1e-4)
        kernel = kernel - 0.01 * dkernel
    np.testing.assert_allclose(last, kernel, rtol=1e-3, atol=1e-4)


def test_a_window_by_hand():
    x = jnp.arange(9.0).reshape(1, 3, 3, 1)
    kernel = jnp.array([[1.0, 10.0], [100.0, 1000.0]]).reshape(2, 2, 1, 1)
    y = conv2d(x, kernel, stride=1)
    # first window 0 1 / 3 4: 0 + 10 + 300 + 4000
    np.testing.assert_array_equal(y[0, :, :, 0], [[4310, 5421], [7643, 8754]])


@pytest.mark.parametrize("batch", [4, 33])
def test_bytes_count_as_floats_and_the_kernel_takes_the_scale(batch):
    _, kernel = inputs(batch, 20, 20, 4, 8, 8, 16)
    images = jnp.asarray(np.random.default_rng(3).integers(0, 256, (batch, 20, 20, 4), np.uint8))

    @jax.jit
    def both(images, kernel):
        ours = jax.vjp(lambda k: conv2d(images, k / 255, stride=4), kernel)
        theirs = jax.vjp(lambda k: plain(images / 255.0, k, 4), kernel)
        g = normal(4, *ours[0].shape)
        return (ours[0], *ours[1](g)), (theirs[0], *theirs[1](g))

    for a, e in zip(*both(images, kernel), strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-4)


def test_an_unused_gradient_of_the_images_is_not_computed():
    x, kernel = inputs(32, 12, 12, 3, 4, 4, 7)
    loss = lambda x, k: jnp.sum(conv2d(x, k, stride=2) ** 2)  # noqa: E731

    def convolutions(argnums):
        compiled = jax.jit(jax.grad(loss, argnums=argnums)).lower(x, kernel).compile()
        return compiled.as_text().count(" convolution(")

    assert convolutions((0, 1)) == 3  # forward and two gradients
    assert convolutions(1) == 2
    assert convolutions(0) == 2


def test_vmap_over_kernels_equals_a_loop():
    x, kernel = inputs(18, 8, 8, 2, 3, 3, 4)
    kernels = jnp.stack([kernel, -kernel, 2 * kernel])
    f = jax.jit(jax.grad(lambda k: jnp.sum(conv2d(x, k, stride=1) ** 3)))
    np.testing.assert_allclose(jax.vmap(f)(kernels), [f(k) for k in kernels], rtol=1e-3, atol=1e-3)


def test_other_backends_use_the_plain_convolution(monkeypatch):
    x, kernel = inputs(32, 8, 8, 2, 3, 3, 4)
    monkeypatch.setattr(conv_module.jax, "default_backend", lambda: "gpu")
    text = str(jax.make_jaxpr(lambda x, k: conv2d(x, k, stride=1))(x, kernel))
    assert "scan" not in text
    assert text.count("conv_general_dilated[") == 1


@pytest.mark.parametrize(
    ("stride", "message"),
    [(0, "stride must be an integer of at least 1, got 0"), (1, "must fit into the image")],
)
def test_bad_arguments_are_named(stride, message):
    unchecked = inspect.unwrap(conv2d)  # without jaxtyping, which users do not run
    with pytest.raises(ValueError, match=message):
        unchecked(jnp.zeros((1, 4, 4, 1)), jnp.zeros((5, 5, 1, 1)), stride=stride)
