"""Windows of feature maps, so that a convolution is one matrix product.

Its gradients are matrix products too. XLA's own convolution gradients are up to 25 times slower inside a
``lax.scan`` on the CPU. All windows are 2x2 with stride 1 and SAME padding, which for even kernels means
zeros at the bottom and right.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def map_patches(x: Float[Array, " *batch H W C"]) -> Float[Array, " *batch H W K"]:
    """Windows of maps: channel ``(2 a + b) C + c`` of the result is ``x[i + a, j + b, c]``."""
    height, width = x.shape[-3], x.shape[-2]
    padded = jnp.pad(x, [(0, 0)] * (x.ndim - 3) + [(0, 1), (0, 1), (0, 0)])
    taps = [padded[..., a : a + height, b : b + width, :] for a in (0, 1) for b in (0, 1)]
    return jnp.concatenate(taps, axis=-1)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def plane_patches(x: Float[Array, " *batch F M"], width: int) -> Float[Array, " *batch K M"]:
    """Windows of planes: the places of a map of ``width`` columns on the last axis, channels before it.

    Plane ``(2 a + b) F + f`` of the result is ``x[f, (i + a) * width + j + b]``: a shift of the window is a shift of
    the flat axis, except that the last column has no right neighbor.
    """
    return _plane_patches_forward(x, width)[0]


def _plane_patches_forward(x: Array, width: int) -> tuple[Array, None]:
    padded = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, width + 1)])
    # Without the barrier each window would compute the planes again.
    padded = jax.lax.optimization_barrier(padded)  # type: ignore[no-untyped-call]
    windows = [
        padded[..., shift : shift + x.shape[-1]] * kept for shift, kept in _shifts(x.shape[-1], width, x.ndim)
    ]
    return jnp.concatenate(windows, axis=-2), None


def _plane_patches_backward(width: int, _: None, cotangent: Array) -> tuple[Array]:
    places, features = cotangent.shape[-1], cotangent.shape[-2] // 4
    padded = jnp.pad(cotangent, [(0, 0)] * (cotangent.ndim - 1) + [(width + 1, 0)])
    total = jnp.zeros((*cotangent.shape[:-2], features, places))
    for tap, (shift, kept) in enumerate(_shifts(places, width, cotangent.ndim)):
        start = width + 1 - shift
        window = padded[..., tap * features : (tap + 1) * features, start : start + places]
        total = (
            total + window * jnp.concatenate([jnp.zeros_like(kept[..., :shift]), kept], axis=-1)[..., :places]
        )
    return (total,)


def _shifts(places: int, width: int, ndim: int) -> list[tuple[int, Array]]:
    """Shift of the flat axis for each tap, and where it stays in its row (1) or wraps around (0)."""
    left = jnp.asarray((np.arange(places) % width != width - 1).astype(np.float32))
    left = left.reshape(*[1] * (ndim - 1), places)
    return [(0, jnp.ones_like(left)), (1, left), (width, jnp.ones_like(left)), (width + 1, left)]


plane_patches.defvjp(_plane_patches_forward, _plane_patches_backward)
