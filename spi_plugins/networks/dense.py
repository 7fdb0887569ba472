"""Dense layers with or without a Lipschitz bound, and the 1-Lipschitz nonlinearity.

A Lipschitz layer divides its kernel by a certified upper bound of the kernel's operator norm, on every call:
``spectral.dense_norm_bound`` for matrices, ``spectral.conv_norm_bound`` for convolutions. There is no state of a
power iteration to save, and nothing lags behind an optimizer step. The layers that do so are ``DenseTrunk``,
``transition.MapTransition``, ``transition.FlatTransition`` and ``reward.RewardNet``.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from spi_plugins.networks.fusion import materialized
from spi_plugins.networks.spectral import dense_norm_bound

lecun_normal: Callable[..., Array] = jax.nn.initializers.lecun_normal()


@jax.custom_vjp
def group_sort(x: Float[Array, " *batch C"]) -> Float[Array, " *batch C"]:
    """Sort pairs of features: GroupSort of size 2 (Anil et al., 2019, arXiv:1811.05381).

    Feature ``i`` is paired with feature ``i + C // 2``; the minima come first. Pairing neighbors would be the same
    function up to a permutation of the features, but with strided access. With an odd ``C`` the last feature is left
    alone. The map permutes its input, so it is 1-Lipschitz and preserves the norm.
    """
    return _group_sort_forward(x)[0]


def _halves(x: Array) -> tuple[Array, Array, Array]:
    half = x.shape[-1] // 2
    return x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]


def _group_sort_forward(x: Array) -> tuple[Array, Array]:
    left, right, rest = _halves(x)
    return jnp.concatenate([jnp.minimum(left, right), jnp.maximum(left, right), rest], axis=-1), x


def _group_sort_backward(x: Array, cotangent: Array) -> tuple[Array]:
    """The gradient; XLA's own would pad and add halves, at ten times the cost on a CPU."""
    left, right, _ = _halves(x)
    of_least, of_largest, of_rest = _halves(materialized(cotangent))
    # As in ``jnp.minimum``, equal features share it.
    share = jnp.where(left == right, 0.5, (left < right).astype(x.dtype))
    to_left = of_largest + share * (of_least - of_largest)
    to_right = of_least + share * (of_largest - of_least)
    return (jnp.concatenate([to_left, to_right, of_rest], axis=-1),)


group_sort.defvjp(_group_sort_forward, _group_sort_backward)


class DenseTrunk(nnx.Module):
    """Dense layers with LeCun-normal kernels, each followed by a nonlinearity.

    With ``lipschitz``, kernels are divided by ``spectral.dense_norm_bound`` and the nonlinearity is GroupSort, so the
    trunk is 1-Lipschitz in its first input. Otherwise kernels are free and the nonlinearity is ReLU. ``appended`` is
    the length of a second input to the first layer, which the bound does not cover.
    """

    def __init__(
        self, size: int, appended: int, hidden_sizes: tuple[int, ...], *, lipschitz: bool, rngs: nnx.Rngs
    ) -> None:
        self.depth, self.lipschitz = len(hidden_sizes), lipschitz
        for i, (n_in, n_out) in enumerate(zip((size, *hidden_sizes), hidden_sizes, strict=False)):
            setattr(self, f"kernel{i}", nnx.Param(lecun_normal(rngs.params(), (n_in, n_out))))
            setattr(self, f"bias{i}", nnx.Param(jnp.zeros((n_out,))))
        self.appended = appended
        if appended:
            self.appended_kernel = nnx.Param(lecun_normal(rngs.params(), (appended, hidden_sizes[0])))

    def __call__(
        self, x: Float[Array, "B I"], appended: Float[Array, "B N"] | None = None
    ) -> Float[Array, "B O"]:
        """Apply the layers."""
        for i in range(self.depth):
            kernel, bias = getattr(self, f"kernel{i}")[...], getattr(self, f"bias{i}")[...]
            x = x @ kernel
            if self.lipschitz:
                x = x / dense_norm_bound(kernel)
            x = x + bias[None, :]
            if i == 0 and appended is not None:
                x = x + appended @ self.appended_kernel[...]
            x = group_sort(x) if self.lipschitz else jax.nn.relu(x)
        return x
