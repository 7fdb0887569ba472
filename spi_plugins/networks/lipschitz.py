"""The 1-Lipschitz nonlinearity, and where the bound of a layer comes from.

A Lipschitz layer divides its kernel by a certified upper bound of the kernel's operator norm, on every call:
``spectral.dense_norm_bound`` for matrices, ``spectral.conv_norm_bound`` for convolutions. There is no state of a
power iteration to save, and nothing lags behind an optimizer step. The layers that do so are ``dense.DenseTrunk``,
``transition.MapTransition``, ``transition.FlatTransition`` and ``reward.RewardNet``.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def group_sort(x: Float[Array, " *batch C"]) -> Float[Array, " *batch C"]:
    """Sort pairs of features: GroupSort of size 2 (Anil et al., 2019, arXiv:1811.05381).

    Feature ``i`` is paired with feature ``i + C // 2``; the minima come first. Pairing neighbors would be the same
    function up to a permutation of the features, but with strided access. With an odd ``C`` the last feature is left
    alone. The map permutes its input, so it is 1-Lipschitz and preserves the norm.
    """
    half = x.shape[-1] // 2
    left, right, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return jnp.concatenate([jnp.minimum(left, right), jnp.maximum(left, right), rest], axis=-1)
