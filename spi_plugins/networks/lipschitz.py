"""Layers that are 1-Lipschitz in the Euclidean norm at every moment, certified from the weights alone.

A layer divides its kernel by an upper bound of the kernel's operator norm (``spectral``), recomputed at each
call: no power-iteration state to persist, nothing that lags behind an optimizer step. The division is
unconditional, so a layer's norm stays just under 1 whatever the raw kernel's scale.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from spi_plugins.networks.patches import map_patches
from spi_plugins.networks.spectral import conv_norm_bound, dense_norm_bound

lecun_normal: Callable[..., Array] = jax.nn.initializers.lecun_normal()


def group_sort(x: Float[Array, " *batch C"]) -> Float[Array, " *batch C"]:
    """Sort pairs of features: GroupSort of size 2 (Anil et al., 2019, arXiv:1811.05381).

    Feature ``i`` pairs with ``i + C // 2``; the minima come first. Pairs of neighbors are the same function
    up to a permutation of the features, but cost a strided access. An odd last feature passes through. The
    map permutes its input, so it is 1-Lipschitz and keeps the norm.

    Args:
        x: features on the last axis.

    Returns:
        Array of the same shape.
    """
    half = x.shape[-1] // 2
    left, right, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return jnp.concatenate([jnp.minimum(left, right), jnp.maximum(left, right), rest], axis=-1)


class LipschitzDense(nnx.Module):
    """``x @ (kernel / bound) + bias``: 1-Lipschitz. Kernel LeCun-normal, bias 0 and free."""

    def __init__(self, features_in: int, features_out: int, *, rngs: nnx.Rngs) -> None:
        self.kernel = nnx.Param(lecun_normal(rngs.params(), (features_in, features_out)))
        self.bias = nnx.Param(jnp.zeros((features_out,)))

    def __call__(self, x: Float[Array, "B I"]) -> Float[Array, "B O"]:
        """Apply the layer."""
        kernel = self.kernel[...]
        return x @ (kernel / dense_norm_bound(kernel)) + self.bias[...][None, :]


class LipschitzConv(nnx.Module):
    """2x2 convolution, stride 1, SAME (zeros at the bottom and right), 1-Lipschitz on maps of one given size.

    Args:
        height: rows of the maps; the certificate holds for this size.
        width: columns of the maps.
        features_in: input channels.
        features_out: output channels.
        groups: blocks of channels that do not mix; both channel counts must be multiples. Each block is
            normalized by itself: the norm of a block-diagonal operator is the largest of its blocks'.
        rngs: source of the initial kernel (LeCun-normal by block).
    """

    def __init__(
        self, height: int, width: int, features_in: int, features_out: int, groups: int = 1, *, rngs: nnx.Rngs
    ) -> None:
        if features_in % groups or features_out % groups:
            raise ValueError(
                f"groups={groups} must divide features_in={features_in} and features_out={features_out}"
            )
        self.height, self.width, self.groups = height, width, groups
        shape = (2, 2, features_in // groups, features_out // groups)
        keys = jax.random.split(rngs.params(), groups)
        self.kernel = nnx.Param(jnp.stack([lecun_normal(key, shape) for key in keys]))
        self.bias = nnx.Param(jnp.zeros((features_out,)))

    def __call__(self, x: Float[Array, "B H W I"]) -> Float[Array, "B H W O"]:
        """Apply the layer.

        Raises:
            ValueError: the map has another size than the one certified.
        """
        if x.shape[1:3] != (self.height, self.width):
            raise ValueError(
                f"x is a map of {x.shape[1:3]}, the layer is certified for {self.height, self.width}"
            )
        kernel = self.kernel[...]
        bound = conv_norm_bound(kernel, self.height, self.width)
        kernel = (kernel / bound[:, None, None, None, None]).reshape(self.groups, -1, kernel.shape[-1])
        groups = x.reshape(*x.shape[:-1], self.groups, -1)
        patches = map_patches(jnp.moveaxis(groups, -2, 1))
        y = jnp.einsum("bghwk,gko->bhwgo", patches, kernel)
        return y.reshape(*x.shape[:-1], -1) + self.bias[...][None, None, None, :]
