"""Multi-layer perceptrons, and activations by name."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "celu": jax.nn.celu,
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "hard_silu": jax.nn.hard_silu,
    "hard_tanh": jax.nn.hard_tanh,
    "identity": jax.nn.identity,
    "leaky_relu": jax.nn.leaky_relu,
    "log_sigmoid": jax.nn.log_sigmoid,
    "mish": jax.nn.mish,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "selu": jax.nn.selu,
    "sigmoid": jax.nn.sigmoid,
    "silu": jax.nn.silu,
    "soft_sign": jax.nn.soft_sign,
    "softplus": jax.nn.softplus,
    "tanh": jnp.tanh,
}


class Dense(nnx.Module):
    """An affine layer with an orthogonal kernel (or a LeCun-normal one) and a zero bias."""

    def __init__(self, n_in: int, n_out: int, *, gain: float, orthogonal: bool = True, rngs: nnx.Rngs):
        init = nnx.initializers.orthogonal(gain) if orthogonal else nnx.initializers.lecun_normal()
        self.kernel = nnx.Param(init(rngs.params(), (n_in, n_out), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((n_out,), jnp.float32))

    def __call__(self, x: Float[Array, "B I"]) -> Float[Array, "B O"]:
        """Apply the layer to a batch."""
        return x @ self.kernel[...] + self.bias[...][None, :]


class MLP(nnx.Module):
    """Dense layers, each followed by the activation; the identity without layers."""

    def __init__(
        self, n_in: int, hidden: tuple[int, ...], *, activation: str, orthogonal: bool = True, rngs: nnx.Rngs
    ):
        self.n_layers = len(hidden)
        self.activation = activation
        for i, (width_in, width_out) in enumerate(zip((n_in, *hidden), hidden, strict=False)):
            layer = Dense(width_in, width_out, gain=math.sqrt(2), orthogonal=orthogonal, rngs=rngs)
            setattr(self, f"dense{i}", layer)

    def __call__(self, x: Float[Array, "B I"]) -> Float[Array, "B O"]:
        """Apply all layers to a batch."""
        for i in range(self.n_layers):
            x = ACTIVATIONS[self.activation](getattr(self, f"dense{i}")(x))
        return x
