"""Certified upper bounds of operator norms, for dense kernels and zero-padded convolutions.

Gram iteration (Delattre et al., 2023, "Efficient Bound of Lipschitz Constant for Convolutional Layers by Gram
Iteration", arXiv:2305.16173): square ``G = W^T W`` again and again, and any matrix norm of ``G^(2^t)`` gives
``sigma <= norm^(1 / 2^(t + 1))``, tight as t grows. Of Frobenius and row-sum norm we take the smaller: the
first is exact for one dominant direction, the second for an orthogonal ``W``.

A zero-padded convolution is a block of the circular one on a torus of ``(h + kh - 1) x (w + kw - 1)`` cells,
so its norm is at most the largest over that torus' frequencies of the norm of the kernel's Fourier transform,
a matrix of ``c_out x c_in`` (Sedghi et al., 2019, arXiv:1805.10408, for the circular case).

The value is certified and without gradient; the gradient is that of ``|W v|`` with ``v`` the dominant
direction, scaled to the bound. So a kernel divided by its bound is exactly invariant to the kernel's scale,
and its gradient orthogonal to the kernel, as with weight normalization.
"""

import math
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# The Gram matrix to the 16th: the bound exceeds the norm by at most n^(1/64), and by 1-2 % on kernels as they
# come.
SQUARINGS = 4
# Float32 rounding of the products, in relative terms of the bound; measured below 1e-5.
ROUNDING = 1e-4
# A bound is never below this, so a vanishing kernel is not blown up; above it, squares do not underflow.
FLOOR = 1e-12
_TINY = 1e-30
# Up to this side, 4 x 4 in the Atari net, Gram matrices are squared entry by entry, the batch on the last
# axis.
_SMALL_SIDE = 4
_SMALL_SQUARINGS = 2

# Upper triangle of a Hermitian matrix: (row, column) to (real, imaginary).
_Entries: TypeAlias = dict[tuple[int, int], tuple[Array, Array]]


def _gram_bound(
    real: Float[Array, "*batch N N"], imag: Float[Array, "*batch N N"] | None, squarings: int
) -> tuple[Float[Array, " *batch"], Float[Array, "*batch N N"], Float[Array, "*batch N N"] | None]:
    """Upper bound of the largest eigenvalue of a Hermitian positive matrix, and a scaled high power of it.

    The Hermitian square ``(A + iB)^2 = A^2 - B^2 + i(AB + BA)`` takes two real products: with ``P = AB`` and
    ``Q = (A + B)(A + B)^T``, using ``A^T = A`` and ``B^T = -B``, it is ``Q + P + P^T`` and ``P - P^T``.
    """
    log_scale = jnp.zeros(real.shape[:-2])
    for step in range(squarings + 1):
        squares = jnp.square(real) if imag is None else jnp.square(real) + jnp.square(imag)
        norm = jnp.minimum(
            jnp.sqrt(jnp.sum(squares, axis=(-2, -1))), jnp.max(jnp.sum(jnp.sqrt(squares), axis=-1), axis=-1)
        )
        norm = jnp.maximum(norm, _TINY)
        log_scale = log_scale + jnp.log(norm)
        real = real / norm[..., None, None]
        imag = None if imag is None else imag / norm[..., None, None]
        if step == squarings:
            break
        log_scale = 2.0 * log_scale
        if imag is None:
            real = real @ real
        else:
            product = real @ imag
            total = real + imag
            transposed = jnp.swapaxes(product, -1, -2)
            real = total @ jnp.swapaxes(total, -1, -2) + product + transposed
            imag = product - transposed
    return jnp.exp(log_scale / 2.0**squarings), real, imag


def _dominant_column(
    real: Float[Array, "*batch N N"], imag: Float[Array, "*batch N N"] | None
) -> tuple[Float[Array, "*batch N"], Float[Array, "*batch N"] | None]:
    """The column of the power with the largest diagonal entry: parallel to the top eigenvector."""
    index = jnp.argmax(jnp.diagonal(real, axis1=-2, axis2=-1), axis=-1)[..., None, None]

    def column(matrix: Array) -> Array:
        return jnp.take_along_axis(matrix, index, axis=-1)[..., 0]

    return column(real), None if imag is None else column(imag)


def dense_norm_bound(
    kernel: Float[Array, "*batch I O"], squarings: int = SQUARINGS
) -> Float[Array, " *batch"]:
    """Certified upper bound of the largest singular value of each matrix.

    Args:
        kernel: matrices, mapping ``x`` to ``x @ kernel``.
        squarings: how often the Gram matrix is squared; the cost is one product of the smaller side each.

    Returns:
        A bound for each matrix, never below ``FLOOR``, differentiable (see the module's text).
    """
    scale = _frobenius(kernel, axes=2)
    if (
        kernel.shape[-2] < kernel.shape[-1]
    ):  # the smaller side carries the Gram matrix; a transpose keeps the norm
        kernel = jnp.swapaxes(kernel, -1, -2)
    scaled = kernel / scale[..., None, None]
    frozen = jax.lax.stop_gradient(scaled)
    top, power, _ = _gram_bound(jnp.swapaxes(frozen, -1, -2) @ frozen, None, squarings)
    vector = _dominant_column(power, None)[0]
    image = jnp.einsum("...io,...o->...i", scaled, vector)
    return _anchored(scale * jnp.sqrt(top), jnp.sum(jnp.square(image), axis=-1))


def conv_norm_bound(
    kernel: Float[Array, "*batch KH KW I O"], height: int, width: int
) -> Float[Array, " *batch"]:
    """Certified upper bound of the operator norm of each zero-padded, stride-1 convolution.

    Args:
        kernel: convolution kernels; leading axes are independent convolutions (the groups of a grouped one,
            say).
        height: rows of the map.
        width: columns of the map.

    Returns:
        A bound for each kernel, never below ``FLOOR``, differentiable (see the module's text).
    """
    kh, kw, n_in, n_out = kernel.shape[-4:]
    batch, taps = kernel.shape[:-4], kh * kw
    cos, sin = _torus_phases(height, width, kh, kw)
    scale = _frobenius(kernel, axes=4)
    flat = kernel.reshape(-1, taps, n_in, n_out) / scale.reshape(-1)[:, None, None, None]
    if n_out < n_in:
        flat = jnp.swapaxes(flat, -1, -2)
    side = flat.shape[-2]
    products = _tap_products(jax.lax.stop_gradient(flat))
    coarse = _small_bounds if side <= _SMALL_SIDE else _large_bounds
    tops = coarse(products, cos, sin)  # [S, F]
    best = jnp.argmax(tops, axis=-1)
    c, s = jnp.asarray(cos)[best], jnp.asarray(sin)[best]  # [S, taps]
    real, imag = _gram_at(products, c, s)
    _, power, power_imag = _gram_bound(real, imag, SQUARINGS)
    v_real, v_imag = _dominant_column(power, power_imag)
    assert v_imag is not None
    # |W(theta)^H v|^2 with W(theta) = sum_t (c_t + i s_t) W_t.
    weight_real = c[:, :, None] * v_real[:, None, :] + s[:, :, None] * v_imag[:, None, :]
    weight_imag = c[:, :, None] * v_imag[:, None, :] - s[:, :, None] * v_real[:, None, :]
    image = jnp.einsum("stnm,rstn->rsm", flat, jnp.stack([weight_real, weight_imag]))
    squared = jnp.sum(jnp.square(image), axis=(0, 2)).reshape(batch)
    return _anchored(scale * jnp.sqrt(jnp.max(tops, axis=-1)).reshape(batch), squared)


def _frobenius(kernel: Float[Array, " *any"], axes: int) -> Float[Array, " *batch"]:
    """Frobenius norm over the last ``axes`` axes, without gradient and never below ``FLOOR``."""
    squares = jnp.sum(jnp.square(jax.lax.stop_gradient(kernel)), axis=tuple(range(-axes, 0)))
    return jnp.maximum(jnp.sqrt(squares), FLOOR)


def _anchored(bound: Float[Array, " *batch"], squared: Float[Array, " *batch"]) -> Float[Array, " *batch"]:
    """``bound`` in value, the gradient of ``sqrt(squared)`` scaled to it: of degree 1, like a norm."""
    frozen = jax.lax.stop_gradient(squared)
    bound = jnp.maximum(bound * (1.0 + ROUNDING), FLOOR)
    return bound * (1.0 + 0.5 * (squared - frozen) / jnp.maximum(frozen, _TINY))


def _torus_phases(height: int, width: int, kh: int, kw: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine of the tap phases, ``[frequencies, kh * kw]``, one of each conjugate pair."""
    rows, columns = height + kh - 1, width + kw - 1
    kept = [(p, q) for p in range(rows) for q in range(columns) if (p, q) <= ((-p) % rows, (-q) % columns)]
    angle = np.array(
        [
            [2 * math.pi * (p * a / rows + q * b / columns) for a in range(kh) for b in range(kw)]
            for p, q in kept
        ]
    )
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def _tap_products(flat: Float[Array, "S T N M"]) -> Float[Array, "S T T N N"]:
    """``W_t W_u^T`` of all pairs of taps: what the Gram matrix of every frequency is made of."""
    slices, taps, side, _ = flat.shape
    stacked = flat.reshape(slices, taps * side, -1)
    products = stacked @ jnp.swapaxes(stacked, -1, -2)
    return jnp.swapaxes(products.reshape(slices, taps, side, taps, side), 2, 3)


def _gram_at(
    products: Float[Array, "S T T N N"], c: Float[Array, "S T"], s: Float[Array, "S T"]
) -> tuple[Float[Array, "S N N"], Float[Array, "S N N"]]:
    """``W(theta) W(theta)^H`` at one frequency for each slice."""
    real = c[:, :, None] * c[:, None, :] + s[:, :, None] * s[:, None, :]
    imag = s[:, :, None] * c[:, None, :] - c[:, :, None] * s[:, None, :]
    return jnp.einsum("stu,stunm->snm", real, products), jnp.einsum("stu,stunm->snm", imag, products)


def _pair_coefficients(cos: np.ndarray, sin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Real and imaginary coefficient of each tap pair at each frequency, ``[F, T * T]``."""
    real = cos[:, :, None] * cos[:, None, :] + sin[:, :, None] * sin[:, None, :]
    imag = sin[:, :, None] * cos[:, None, :] - cos[:, :, None] * sin[:, None, :]
    return real.reshape(cos.shape[0], -1), imag.reshape(cos.shape[0], -1)


def _large_bounds(
    products: Float[Array, "S T T N N"], cos: np.ndarray, sin: np.ndarray
) -> Float[Array, "S F"]:
    """Bound of the Gram matrix' largest eigenvalue at each frequency, by batched matrix products."""
    slices, taps, _, side, _ = products.shape
    pairs = products.reshape(slices, taps * taps, side * side)
    real, imag = _pair_coefficients(cos, sin)
    shape = (slices, cos.shape[0], side, side)
    gram = [jnp.einsum("fp,spn->sfn", part, pairs).reshape(shape) for part in (real, imag)]
    return _gram_bound(gram[0], gram[1], SQUARINGS)[0]


def _small_bounds(
    products: Float[Array, "S T T N N"], cos: np.ndarray, sin: np.ndarray
) -> Float[Array, "S F"]:
    """The same for many tiny matrices: entry by entry on ``[F, S]`` arrays, which vectorizes over the slices.

    No rescaling between the squarings is needed: with the kernel's Frobenius norm 1, eigenvalues lie in
    ``[1 / N, T]`` at the best frequency.
    """
    slices, taps, _, side, _ = products.shape
    upper = [(i, j) for i in range(side) for j in range(i, side)]
    pairs = jnp.transpose(products, (1, 2, 3, 4, 0))
    pairs = jnp.stack([pairs[:, :, i, j] for i, j in upper], axis=2).reshape(taps * taps, -1)
    real, imag = _pair_coefficients(cos, sin)
    shape = (cos.shape[0], len(upper), slices)
    parts = [(jnp.asarray(part) @ pairs).reshape(shape) for part in (real, imag)]
    entries: _Entries = {ij: (parts[0][:, n], parts[1][:, n]) for n, ij in enumerate(upper)}
    for _ in range(_SMALL_SQUARINGS):
        entries = _hermitian_square(entries, side)
    total = sum(
        (1.0 if i == j else 2.0) * (jnp.square(a) + jnp.square(b)) for (i, j), (a, b) in entries.items()
    )
    return jnp.transpose(jnp.asarray(total) ** (0.5 ** (_SMALL_SQUARINGS + 1)))


def _hermitian_square(entries: _Entries, side: int) -> _Entries:
    """Upper triangle of the square of a Hermitian matrix."""

    def entry(i: int, j: int) -> tuple[Array, Array]:
        if i <= j:
            return entries[i, j]
        real, imag = entries[j, i]
        return real, -imag

    squared = {}
    for i, j in entries:
        products = [(entry(i, k), entry(k, j)) for k in range(side)]
        squared[i, j] = (
            jnp.asarray(sum(a * c - b * d for (a, b), (c, d) in products)),
            jnp.asarray(sum(a * d + b * c for (a, b), (c, d) in products)),
        )
    return squared
