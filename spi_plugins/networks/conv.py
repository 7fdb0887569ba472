"""A 2-D convolution whose gradients are fast inside loops on the CPU.

Inside ``lax.scan``, XLA's CPU gradients of a convolution are up to 25 times slower than they could be, because
neither is a convolution in canonical layout. Here both are: the kernel's gradient convolves the images with
the output's cotangent (batch and channels swapped, a few images at a time so that they stay in the
cache), and the images' gradient is a stride-1 convolution whose output channels are the phases of the stride.

uint8 images become floats one chunk at a time, so scale the kernel and not the images:
``conv2d(images, kernel / 255, ...)``.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Num

from spi_plugins.checks import check_integer

Pads = tuple[tuple[int, int], tuple[int, int]]  # zeros before and after, along height and width

_NO_PADS: Pads = ((0, 0), (0, 0))
_DIMENSIONS = ("NHWC", "HWIO", "NHWC")
_GRADIENT_CHUNK = 8  # images summed at once; more would not fit the cache
_BYTE_CHUNK = 32  # byte images converted at once, which bounds the memory at no cost in time


def conv2d(
    x: Num[Array, "B H W C"], kernel: Float[Array, "kh kw C O"], *, stride: int
) -> Float[Array, "B H2 W2 O"]:
    """Cross-correlate images with a kernel, without bias or padding.

    ``y[b, p, q, o] = sum_ijc x[b, p * stride + i, q * stride + j, c] * kernel[i, j, c, o]``. Integers are converted to
    the kernel's dtype and have no gradient; unused gradients are not computed.

    On the CPU the gradients are the module's, which are fast inside ``lax.scan``; on other backends they are JAX's. The
    choice is made while tracing, by ``jax.default_backend()``.

    Raises:
        ValueError: the stride is below 1, or the window is larger than the image.
    """
    check_integer("stride", stride, low=1)
    if x.shape[1] < kernel.shape[0] or x.shape[2] < kernel.shape[1]:
        raise ValueError(f"kernel of {kernel.shape[:2]} pixels must fit into the image, got {x.shape[1:3]}.")
    if jax.default_backend() != "cpu":
        return _correlate(x.astype(kernel.dtype), kernel, _NO_PADS, stride)
    return _conv2d_cpu(x, kernel, stride)


def _correlate(x: Array, kernel: Array, pads: Pads, stride: int = 1, dilation: int = 1) -> Array:
    strides, dilations = (stride, stride), (dilation, dilation)
    y: Array = lax.conv_general_dilated(
        x, kernel, strides, pads, rhs_dilation=dilations, dimension_numbers=_DIMENSIONS
    )
    return y


def _correlate_threaded(x: Array, kernel: Array, stride: int = 1, dilation: int = 1) -> Array:
    """``_correlate`` without padding, by the faster of XLA's two CPU kernels.

    XLA passes convolutions without padding to a library that uses one core, which is slower on many images. Any padding
    on the right prevents that. It costs one column of outputs, which is cut off, or one column of zeros in the kernel,
    whichever is cheaper; nothing if no window reaches it.
    """
    width, taps = x.shape[2], kernel.shape[1]
    columns, rest = divmod(width - (taps - 1) * dilation - 1, stride)
    columns += 1
    if max(columns, taps) < 3 and rest == stride - 1:
        return _correlate(x, kernel, _NO_PADS, stride, dilation)
    if rest < stride - 1 or columns > taps:
        return _correlate(x, kernel, ((0, 0), (0, 1)), stride, dilation)[:, :, :columns]
    kernel = jnp.pad(kernel, ((0, 0), (0, 1), (0, 0), (0, 0)))
    return _correlate(x, kernel, ((0, 0), (0, dilation)), stride, dilation)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv2d_cpu(x: Array, kernel: Array, stride: int) -> Array:
    def forward(images: Array) -> Array:
        return _correlate_threaded(images.astype(kernel.dtype), kernel, stride)

    return forward(x) if jnp.issubdtype(x.dtype, jnp.floating) else _map_chunks(forward, x)


def _conv2d_fwd(x: Array, kernel: Array, stride: int) -> tuple[Array, tuple[Array, Array]]:
    return _conv2d_cpu(x, kernel, stride), (x, kernel)


def _conv2d_bwd(stride: int, residuals: tuple[Array, Array], g: Array) -> tuple[Any, Array]:
    x, kernel = residuals
    # Computed separately, so that XLA drops the unused one.
    dkernel = _kernel_gradient(x, kernel, g, stride)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return np.zeros(x.shape, jax.dtypes.float0), dkernel
    return _images_gradient(x, kernel, g, stride), dkernel


_conv2d_cpu.defvjp(_conv2d_fwd, _conv2d_bwd)


def _kernel_gradient(x: Array, kernel: Array, g: Array, stride: int) -> Array:
    """Correlate ``x`` with ``g``, with channels as the batch and images as the channels that are summed."""
    # Cut off rows and columns beyond the last window.
    rows, columns = ((n - 1) * stride + k for n, k in zip(g.shape[1:3], kernel.shape[:2], strict=True))

    def gradient(images: Array, g: Array) -> Array:
        images = images[:, :rows, :columns].astype(g.dtype).transpose(3, 1, 2, 0)
        return _correlate_threaded(images, g.transpose(1, 2, 0, 3), dilation=stride)

    return _sum_chunks(gradient, x, g).transpose(1, 2, 0, 3)


def _images_gradient(x: Array, kernel: Array, g: Array, stride: int) -> Array:
    """Correlate ``g`` with the flipped kernel, one group of output channels for each phase of the stride."""
    batch, height, width, channels = x.shape
    kh, kw, _, out = kernel.shape
    mh, mw = math.ceil(kh / stride), math.ceil(kw / stride)
    kernel = jnp.pad(kernel, ((0, mh * stride - kh), (0, mw * stride - kw), (0, 0), (0, 0)))
    phases = kernel.reshape(mh, stride, mw, stride, channels, out)[::-1, :, ::-1]
    phases = phases.transpose(0, 2, 5, 1, 3, 4).reshape(mh, mw, out, stride * stride * channels)
    y = _correlate(g, phases, ((mh - 1, mh - 1), (mw - 1, mw - 1)))
    _, rows, columns, _ = y.shape
    y = y.reshape(batch, rows, columns, stride, stride, channels).transpose(0, 1, 3, 2, 4, 5)
    y = y.reshape(batch, rows * stride, columns * stride, channels)
    # Zeros for pixels that no window reached; the phases may reach beyond the image.
    edges = ((0, 0, 0), (0, height - rows * stride, 0), (0, width - columns * stride, 0), (0, 0, 0))
    dx: Array = lax.pad(y, jnp.zeros((), y.dtype), edges)
    return dx.astype(x.dtype)


def _map_chunks(f: Callable[[Array], Array], x: Array) -> Array:
    """``f(x)`` for an ``f`` that treats images independently, one chunk at a time."""
    if len(x) <= _BYTE_CHUNK:
        return f(x)
    y: Array = lax.map(f, _chunks(x, _BYTE_CHUNK))
    return y.reshape(-1, *y.shape[2:])[: len(x)]


def _sum_chunks(f: Callable[[Array, Array], Array], x: Array, g: Array) -> Array:
    """``f(x, g)`` for an ``f`` that sums over images, one chunk at a time."""
    if len(x) <= _GRADIENT_CHUNK:
        return f(x, g)
    xs, gs = _chunks(x, _GRADIENT_CHUNK), _chunks(g, _GRADIENT_CHUNK)
    zero = jax.eval_shape(f, xs[0], gs[0])
    total: Array = jnp.zeros(zero.shape, zero.dtype)
    total, _ = lax.scan(lambda total, part: (total + f(*part), None), total, (xs, gs))
    return total


def _chunks(x: Array, size: int) -> Array:
    """Split the batch into equal chunks of at most ``size``, padded with zeros."""
    count = math.ceil(len(x) / size)
    size = math.ceil(len(x) / count)
    if count * size != len(x):
        x = jnp.pad(x, ((0, count * size - len(x)), *((0, 0),) * (x.ndim - 1)))
    return x.reshape(count, size, *x.shape[1:])
