"""Certified upper bounds of operator norms, for dense kernels and zero-padded convolutions.

These bounds certify the Lipschitz layers: a kernel divided by its bound has operator norm at most 1.

Gram iteration (Delattre et al., 2023, "Efficient Bound of Lipschitz Constant for Convolutional Layers by Gram
Iteration", arXiv:2305.16173): square ``G = W^T W`` repeatedly; any matrix norm of ``G^(2^t)`` yields
``sigma <= norm^(1 / 2^(t + 1))``, which is tight as t grows. We use the smaller one of Frobenius and row-sum norm: the
first is exact for one dominant direction, the second for an orthogonal ``W``.

A zero-padded convolution is a block of the circular one on a torus of ``(h + kh - 1) x (w + kw - 1)`` cells, so its
norm is at most the largest norm, over the torus' frequencies, of the kernel's Fourier transform, a ``c_out x c_in``
matrix (Sedghi et al., 2019, arXiv:1805.10408, for the circular case).

The bound's gradient is that of ``|W v|``, with ``v`` the dominant direction, scaled to the bound. So a kernel divided
by its bound is exactly invariant to the kernel's scale, and its gradient is orthogonal to the kernel, as with weight
normalization.
"""

import math
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision
from jaxtyping import Array, Float

# The 16th power of the Gram matrix: the bound exceeds the norm by a factor of at most n^(1/64), by up to 2.3 % on
# LeCun-normal kernels.
SQUARINGS = 4
# Float32 rounding of the products, relative to the bound; measured below 1e-5.
ROUNDING = 1e-4
# Least bound, so that a vanishing kernel does not blow up; above it, squares do not underflow.
FLOOR = 1e-12
_TINY = 1e-30
# Up to this side, 4 x 4 in the Atari net, Gram matrices are squared entry by entry, many at a time.
_SMALL_SIDE = 4
_SMALL_SQUARINGS = 2
# Without this a GPU rounds the factors to 10 bits.
_EXACT = Precision.HIGHEST

# Upper triangle of a Hermitian matrix, or of a stack of them: (row, column) -> (real, imaginary).
_Entries: TypeAlias = dict[tuple[int, int], tuple[Array, Array]]


def dense_norm_bound(kernel: Float[Array, " *batch I O"]) -> Float[Array, " *batch"]:
    """Certified upper bound of the largest singular value of each matrix ``x -> x @ kernel``.

    At least ``FLOOR``, and differentiable (see the module's docstring).
    """
    scale = _frobenius(kernel, axes=2)
    # The Gram matrix has the smaller side; a transpose keeps the norm.
    if kernel.shape[-2] < kernel.shape[-1]:
        kernel = jnp.swapaxes(kernel, -1, -2)
    scaled = kernel / scale[..., None, None]
    if scaled.shape[-1] <= _SMALL_SIDE and scaled.ndim > 2:
        stacked = jnp.moveaxis(scaled.reshape(-1, *scaled.shape[-2:]), 0, -1)
        top, squared = _small_dense_bound(stacked)
        batch = kernel.shape[:-2]
        return _anchored(scale * jnp.sqrt(top).reshape(batch), squared.reshape(batch))
    frozen = jax.lax.stop_gradient(scaled)
    gram = jnp.einsum("...ij,...ik->...jk", frozen, frozen, precision=_EXACT)
    top, power, _ = _gram_bound(gram, None)
    vector = _dominant_column(power, None)[0]
    image = jnp.einsum("...io,...o->...i", scaled, vector)
    return _anchored(scale * jnp.sqrt(top), jnp.sum(jnp.square(image), axis=-1))


def _small_dense_bound(stacked: Float[Array, "I N S"]) -> tuple[Float[Array, " S"], Float[Array, " S"]]:
    """Bound the Gram matrices' largest eigenvalues, entry by entry for many tiny matrices at a time.

    Squarings need no rescaling, see ``_small_bound``.
    """

    def product(a: Array, b: Array) -> Array:  # a b^T
        return jnp.asarray(sum(a[:, None, j] * b[None, :, j] for j in range(a.shape[1])))

    frozen = jax.lax.stop_gradient(stacked)
    power = product(*[jnp.swapaxes(frozen, 0, 1)] * 2)
    for _ in range(SQUARINGS):
        power = product(power, power)
    top = jnp.sqrt(jnp.sum(jnp.square(power), axis=(0, 1))) ** (0.5**SQUARINGS)
    best = jnp.argmax(jnp.diagonal(power), axis=-1)  # [S]
    vector = jnp.sum(jnp.where(jnp.arange(power.shape[0])[:, None] == best[None], power, 0.0), axis=1)
    image = jnp.sum(stacked * vector[None], axis=1)
    return top, jnp.sum(jnp.square(image), axis=0)


def conv_norm_bound(
    kernel: Float[Array, " *batch KH KW I O"], height: int, width: int
) -> Float[Array, " *batch"]:
    """Certified upper bound of the operator norm of each zero-padded, stride-1 convolution of a map.

    At least ``FLOOR``, and differentiable (see the module's docstring). Leading axes of the kernel are independent
    convolutions, such as the groups of a grouped one.
    """
    kh, kw, n_in, n_out = kernel.shape[-4:]
    batch = kernel.shape[:-4]
    cos, sin = _torus_phases(height, width, kh, kw)
    scale = _frobenius(kernel, axes=4)
    flat = kernel.reshape(-1, kh * kw, n_in, n_out) / scale.reshape(-1)[:, None, None, None]
    if n_out < n_in:  # the Gram matrix has the smaller side; a transpose keeps the norm
        flat = jnp.swapaxes(flat, -1, -2)
    bound = _small_bound if flat.shape[-2] <= _SMALL_SIDE else _large_bound
    top, squared = bound(flat, cos, sin)
    return _anchored(scale * jnp.sqrt(top).reshape(batch), squared.reshape(batch))


def _frobenius(kernel: Float[Array, " *any"], axes: int) -> Float[Array, " *batch"]:
    """Frobenius norm over the last ``axes`` axes, without gradient and at least ``FLOOR``."""
    squares = jnp.sum(jnp.square(jax.lax.stop_gradient(kernel)), axis=tuple(range(-axes, 0)))
    return jnp.maximum(jnp.sqrt(squares), FLOOR)


def _anchored(bound: Float[Array, " *batch"], squared: Float[Array, " *batch"]) -> Float[Array, " *batch"]:
    """``bound``, with the gradient of ``sqrt(squared)`` scaled to it: homogeneous of degree 1, like a norm."""
    frozen = jax.lax.stop_gradient(squared)
    bound = jnp.maximum(bound * (1.0 + ROUNDING), FLOOR)
    return bound * (1.0 + 0.5 * (squared - frozen) / jnp.maximum(frozen, _TINY))


def _gram_bound(
    real: Float[Array, " *batch N N"], imag: Float[Array, " *batch N N"] | None
) -> tuple[Float[Array, " *batch"], Float[Array, " *batch N N"], Float[Array, " *batch N N"] | None]:
    """Bound the largest eigenvalue of a Hermitian positive matrix, and return a scaled high power of it.

    The Hermitian square ``(A + iB)^2 = A^2 - B^2 + i(AB + BA)`` takes two real products: with ``P = AB`` and
    ``Q = (A + B)(A + B)^T``, using ``A^T = A`` and ``B^T = -B``, it is ``Q + P + P^T`` and ``P - P^T``.
    """
    log_scale = jnp.zeros(real.shape[:-2])
    for step in range(SQUARINGS + 1):
        squares = jnp.square(real) if imag is None else jnp.square(real) + jnp.square(imag)
        frobenius = jnp.sqrt(jnp.sum(squares, axis=(-2, -1)))
        norm = jnp.minimum(frobenius, jnp.max(jnp.sum(jnp.sqrt(squares), axis=-1), axis=-1))
        norm = jnp.maximum(norm, _TINY)
        log_scale = log_scale + jnp.log(norm)
        real = real / norm[..., None, None]
        imag = None if imag is None else imag / norm[..., None, None]
        if step == SQUARINGS:
            break
        log_scale = 2.0 * log_scale
        if imag is None:
            real = jnp.matmul(real, real, precision=_EXACT)
        else:
            product = jnp.matmul(real, imag, precision=_EXACT)
            total = real + imag
            transposed = jnp.swapaxes(product, -1, -2)
            real = jnp.matmul(total, jnp.swapaxes(total, -1, -2), precision=_EXACT) + product + transposed
            imag = product - transposed
    return jnp.exp(log_scale / 2.0**SQUARINGS), real, imag


def _dominant_column(
    real: Float[Array, " *batch N N"], imag: Float[Array, " *batch N N"] | None
) -> tuple[Float[Array, " *batch N"], Float[Array, " *batch N"] | None]:
    """The column of the power with the largest diagonal entry: parallel to the top eigenvector."""
    index = jnp.argmax(jnp.diagonal(real, axis1=-2, axis2=-1), axis=-1)[..., None, None]

    def column(matrix: Array) -> Array:
        return jnp.take_along_axis(matrix, index, axis=-1)[..., 0]

    return column(real), None if imag is None else column(imag)


def _torus_phases(height: int, width: int, kh: int, kw: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine of the tap phases, ``[frequencies, kh * kw]``, one of each conjugate pair."""
    rows, columns = height + kh - 1, width + kw - 1
    kept = [(p, q) for p in range(rows) for q in range(columns) if (p, q) <= ((-p) % rows, (-q) % columns)]
    taps = [(a, b) for a in range(kh) for b in range(kw)]
    angle = np.array([[2 * math.pi * (p * a / rows + q * b / columns) for a, b in taps] for p, q in kept])
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def _pair_coefficients(cos: Array | np.ndarray, sin: Array | np.ndarray) -> tuple[Array, Array]:
    """Coefficients ``(c_t + i s_t)(c_u - i s_u)`` of ``W_t W_u^T`` in ``W W^H``, ``[F, T * T]``."""
    c, s = jnp.asarray(cos), jnp.asarray(sin)
    real = c[:, :, None] * c[:, None, :] + s[:, :, None] * s[:, None, :]
    imag = s[:, :, None] * c[:, None, :] - c[:, :, None] * s[:, None, :]
    return real.reshape(c.shape[0], -1), imag.reshape(c.shape[0], -1)


def _tap_products(flat: Float[Array, "S T N M"]) -> Float[Array, "S P N N"]:
    """``W_t W_u^T`` of all pairs of taps, from which the Gram matrix of each frequency is summed."""
    slices, taps, side, _ = flat.shape
    stacked = jax.lax.stop_gradient(flat).reshape(slices, taps * side, -1)
    products = jnp.einsum("sim,sjm->sij", stacked, stacked, precision=_EXACT)
    products = jnp.swapaxes(products.reshape(slices, taps, side, taps, side), 2, 3)
    return products.reshape(slices, taps * taps, side, side)


def _image_norm(
    flat: Float[Array, "S T N M"], c: Float[Array, "S T"], s: Float[Array, "S T"], v: tuple[Array, Array]
) -> Float[Array, " S"]:
    """``|W^H v|^2`` with ``W = sum_t (c_t + i s_t) W_t``, the source of the bound's gradient."""
    real = c[:, :, None] * v[0][:, None, :] + s[:, :, None] * v[1][:, None, :]
    imag = c[:, :, None] * v[1][:, None, :] - s[:, :, None] * v[0][:, None, :]
    slices = flat.shape[0]
    stacked = flat.reshape(slices, -1, flat.shape[-1])
    weights = jnp.stack([real.reshape(slices, -1), imag.reshape(slices, -1)], axis=1)
    return jnp.sum(jnp.square(jnp.einsum("sik,skm->sim", weights, stacked)), axis=(1, 2))


def _large_bound(
    flat: Float[Array, "S T N M"], cos: np.ndarray, sin: np.ndarray
) -> tuple[Float[Array, " S"], Float[Array, " S"]]:
    """Bound the Gram matrices' largest eigenvalue over all frequencies, by batched matrix products."""
    slices, _, side, _ = flat.shape
    products = _tap_products(flat)
    shape = (slices, cos.shape[0], side, side)
    real, imag = (
        jnp.einsum("fp,spn->sfn", part, products.reshape(slices, -1, side * side), precision=_EXACT).reshape(
            shape
        )
        for part in _pair_coefficients(cos, sin)
    )
    tops, power, power_imag = _gram_bound(real, imag)
    best = jnp.argmax(tops, axis=-1)
    assert power_imag is not None
    at_best = (jnp.take_along_axis(x, best[:, None, None, None], axis=1)[:, 0] for x in (power, power_imag))
    v_real, v_imag = _dominant_column(*at_best)
    assert v_imag is not None
    squared = _image_norm(flat, jnp.asarray(cos)[best], jnp.asarray(sin)[best], (v_real, v_imag))
    return jnp.max(tops, axis=-1), squared


def _small_bound(
    flat: Float[Array, "S T N M"], cos: np.ndarray, sin: np.ndarray
) -> tuple[Float[Array, " S"], Float[Array, " S"]]:
    """``_large_bound`` for many tiny matrices: entry by entry on ``[F, S]`` arrays, which vectorizes over the slices.

    Squarings need no rescaling: with a Frobenius norm of 1, the kernel's eigenvalues are in ``[1 / N, T]`` at the best
    frequency.
    """
    slices, taps, side, _ = flat.shape
    upper = [(i, j) for i in range(side) for j in range(i, side)]
    pairs = jnp.transpose(_tap_products(flat), (1, 2, 3, 0))
    pairs = jnp.stack([pairs[:, i, j] for i, j in upper], axis=1)  # [P, U, S]

    def power(real: Array, imag: Array, squarings: int) -> _Entries:
        entries = {ij: (real[n], imag[n]) for n, ij in enumerate(upper)}
        for _ in range(squarings):
            entries = _hermitian_square(entries, side)
        return entries

    def gram(part: Array) -> Array:
        every = jnp.matmul(part, pairs.reshape(taps * taps, -1), precision=_EXACT)
        return jnp.swapaxes(every.reshape(-1, len(upper), slices), 0, 1)  # [U, F, S]

    real, imag = _pair_coefficients(cos, sin)
    entries = power(gram(real), gram(imag), _SMALL_SQUARINGS)
    weighted = [(1.0 + (i != j)) * (jnp.square(a) + jnp.square(b)) for (i, j), (a, b) in entries.items()]
    tops = jnp.asarray(sum(weighted))
    best = jnp.argmax(tops, axis=0)
    # The dominant direction needs a higher power of the matrix, but only at the best frequency.
    c, s = jnp.asarray(cos)[best], jnp.asarray(sin)[best]
    real, imag = (jnp.sum(part.T[:, None] * pairs, axis=0) for part in _pair_coefficients(c, s))
    entries = power(real, imag, _SMALL_SQUARINGS + 1)
    full = [[_entry(entries, i, j) for j in range(side)] for i in range(side)]
    columns = (jnp.array([[x[n] for x in row] for row in full]) for n in (0, 1))
    v_real, v_imag = _dominant_column(*(jnp.transpose(x, (2, 0, 1)) for x in columns))
    assert v_imag is not None
    top = jnp.max(tops, axis=0) ** (0.5 ** (_SMALL_SQUARINGS + 1))
    return top, _image_norm(flat, c, s, (v_real, v_imag))


def _entry(entries: _Entries, i: int, j: int) -> tuple[Array, Array]:
    if i <= j:
        return entries[i, j]
    real, imag = entries[j, i]
    return real, -imag


def _hermitian_square(entries: _Entries, side: int) -> _Entries:
    """The upper triangle of a Hermitian matrix' square."""
    squared = {}
    for i, j in entries:
        products = [(_entry(entries, i, k), _entry(entries, k, j)) for k in range(side)]
        squared[i, j] = (
            jnp.asarray(sum(a * c - b * d for (a, b), (c, d) in products)),
            jnp.asarray(sum(a * d + b * c for (a, b), (c, d) in products)),
        )
    return squared
