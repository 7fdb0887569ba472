"""One 2-D convolution that is fast in loops on the CPU and plain everywhere else.

XLA's CPU gradients of a convolution fall off the fast path inside ``lax.scan``, by a factor up to 25, because
neither is a convolution in canonical layout. Here both are: the kernel's gradient convolves the images with the
output's cotangent (batch and channels change places), the images' gradient is a stride-1 convolution whose output
channels are the phases of the stride. All run over chunks of a few images, which stay in the cache.

Public API::

    y = conv2d(x, kernel, stride=4, padding="VALID")  # x [B, H, W, C] float or uint8, kernel [kh, kw, C, O]

uint8 images become floats one chunk at a time, so scale the kernel and not the images:
``conv2d(images, kernel / 255, ...)``.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Num

Padding = Literal["VALID", "SAME"]

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")
_CHUNK = 16  # images; larger chunks leave the cache, smaller ones leave a core idle


def conv2d(
    x: Num[Array, "B H W C"],
    kernel: Float[Array, "kh kw C O"],
    *,
    stride: int,
    padding: Padding = "VALID",
) -> Float[Array, "B H2 W2 O"]:
    """Cross-correlation of images with a kernel, without bias, the same numbers on every backend.

    On the CPU the gradients are our own, fast inside ``lax.scan``; on other backends they are JAX's. The choice
    is made while tracing, by ``jax.default_backend()``. A gradient that nobody asks for costs nothing under ``jit``.

    Args:
        x: images, channels last; integers are converted to the kernel's dtype and have no gradient.
        kernel: filters.
        stride: step of the window along both axes, in pixels, at least 1.
        padding: ``VALID`` for none, ``SAME`` for as many zeros as make ``H2 = ceil(H / stride)``.

    Returns:
        ``y[b, p, q, o] = sum_ijc x[b, p * stride + i, q * stride + j, c] * kernel[i, j, c, o]``.

    Raises:
        ValueError: on a stride below 1, an unknown padding, or a window larger than the (padded) image.
    """
    if stride < 1:
        raise ValueError(f"stride must be at least 1, got {stride}.")
    if padding not in ("VALID", "SAME"):
        raise ValueError(f"padding must be 'VALID' or 'SAME', got {padding!r}.")
    if padding == "SAME":
        x = _pad_same(x, kernel.shape[:2], stride)
    if x.shape[1] < kernel.shape[0] or x.shape[2] < kernel.shape[1]:
        raise ValueError(f"kernel of {kernel.shape[:2]} pixels must fit into the image, got {x.shape[1:3]}.")
    if jax.default_backend() != "cpu":
        return _correlate(x.astype(kernel.dtype), kernel, (stride, stride))
    return _conv2d_cpu(x, kernel, stride)


def _pad_same(x: Array, window: tuple[int, ...], stride: int) -> Array:
    pads = lax.padtype_to_pads(x.shape[1:3], window, (stride, stride), "SAME")
    return jnp.pad(x, [(0, 0), *pads, (0, 0)])


def _correlate(
    x: Array, kernel: Array, strides: tuple[int, int], padding: Any = "VALID", **kwargs: Any
) -> Array:
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=_DIMENSIONS, **kwargs)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv2d_cpu(x: Array, kernel: Array, stride: int) -> Array:
    def forward(images: Array) -> Array:
        return _correlate(images.astype(kernel.dtype), kernel, (stride, stride))

    return _map_chunks(forward, x)


def _conv2d_fwd(x: Array, kernel: Array, stride: int) -> tuple[Array, tuple[Array, Array]]:
    return _conv2d_cpu(x, kernel, stride), (x, kernel)


def _conv2d_bwd(stride: int, residuals: tuple[Array, Array], g: Array) -> tuple[Any, Array]:
    x, kernel = residuals
    # Two separate loops: XLA drops the one whose result is not used.
    dkernel = _kernel_gradient(x, kernel, g, stride)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return np.zeros(x.shape, jax.dtypes.float0), dkernel
    return _images_gradient(x, kernel, g, stride), dkernel


_conv2d_cpu.defvjp(_conv2d_fwd, _conv2d_bwd)


def _kernel_gradient(x: Array, kernel: Array, g: Array, stride: int) -> Array:
    """Correlate ``x`` with ``g``: channels act as the batch, images as the channels that are summed."""
    used = [(n - 1) * stride + k for n, k in zip(g.shape[1:3], kernel.shape[:2], strict=True)]

    def gradient(images: Array, g: Array) -> Array:
        images = images[:, : used[0], : used[1]].astype(g.dtype).transpose(3, 1, 2, 0)
        return _correlate(images, g.transpose(1, 2, 0, 3), (1, 1), rhs_dilation=(stride, stride))

    return _sum_chunks(gradient, x, g).transpose(1, 2, 0, 3)


def _images_gradient(x: Array, kernel: Array, g: Array, stride: int) -> Array:
    """Correlate ``g`` with the flipped kernel, one group of output channels for each phase of the stride."""
    _, height, width, channels = x.shape
    kh, kw, _, out = kernel.shape
    mh, mw = math.ceil(kh / stride), math.ceil(kw / stride)
    padded = jnp.pad(kernel, ((0, mh * stride - kh), (0, mw * stride - kw), (0, 0), (0, 0)))
    phases = padded.reshape(mh, stride, mw, stride, channels, out)[::-1, :, ::-1]
    phases = phases.transpose(0, 2, 5, 1, 3, 4).reshape(mh, mw, out, stride * stride * channels)

    def gradient(g: Array) -> Array:
        y = _correlate(g, phases, (1, 1), [(mh - 1, mh - 1), (mw - 1, mw - 1)])
        n, p, q, _ = y.shape
        y = y.reshape(n, p, q, stride, stride, channels).transpose(0, 1, 3, 2, 4, 5)
        y = y.reshape(n, p * stride, q * stride, channels)[:, :height, :width]
        return jnp.pad(y, ((0, 0), (0, height - y.shape[1]), (0, width - y.shape[2]), (0, 0)))

    return _map_chunks(gradient, g).astype(x.dtype)


def _map_chunks(f: Callable[[Array], Array], x: Array) -> Array:
    """``f(x)`` for an ``f`` that treats images one by one, computed a chunk at a time."""
    if len(x) <= _CHUNK:
        return f(x)
    y = lax.map(f, _chunks(x))
    return y.reshape(-1, *y.shape[2:])[: len(x)]


def _sum_chunks(f: Callable[[Array, Array], Array], x: Array, g: Array) -> Array:
    """``f(x, g)`` for an ``f`` that sums over images, computed a chunk at a time."""
    if len(x) <= _CHUNK:
        return f(x, g)
    parts = (_chunks(x), _chunks(g))
    zero = jax.eval_shape(f, parts[0][0], parts[1][0])
    total: Array = lax.scan(lambda t, part: (t + f(*part), None), jnp.zeros(zero.shape, zero.dtype), parts)[0]
    return total


def _chunks(x: Array) -> Array:
    """Split the batch into equal chunks, filled up with zeros, which add nothing to any sum."""
    count = math.ceil(len(x) / _CHUNK)
    size = math.ceil(len(x) / count)
    if count * size != len(x):
        x = jnp.pad(x, ((0, count * size - len(x)), *((0, 0),) * (x.ndim - 1)))
    return x.reshape(count, size, *x.shape[1:])
