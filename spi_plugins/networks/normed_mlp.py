"""Dense layers with layer normalization and mish, alone or as an ensemble: the building block of TD-MPC2.

Hansen et al., "TD-MPC2" (arXiv:2310.16828), appendix H. The members of an ensemble are the leading axis of each
parameter and of the output; a layer is one batched product for all members.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from spi_plugins.networks.hashed_bits import draw_seed, hashed_bits

# Standard deviation before the truncation at two standard deviations.
_INIT_STD = 0.02
_EPSILON = 1e-5


def mish(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """``x tanh(softplus(x))`` (arXiv:1908.08681), by a single exponential."""
    e = jnp.exp(jnp.minimum(x, 20.0))
    n = e * (e + 2.0)
    return x * (n / (n + 2.0))


def simnorm(x: Float[Array, "*b Z"], group: int) -> Float[Array, "*b Z"]:
    """Softmax within consecutive groups of ``group`` entries; each group sums to 1 (TD-MPC2, Eq. 5)."""
    groups = x.reshape(*x.shape[:-1], x.shape[-1] // group, group)
    return jax.nn.softmax(groups, axis=-1).reshape(x.shape)


def layer_norm(
    x: Float[Array, "*b I"], scale: Float[Array, "*e I"], offset: Float[Array, "*e I"]
) -> Float[Array, "*b I"]:
    """Normalize the last axis; the scale and offset of an ensemble have a leading member axis."""
    mean = jnp.mean(x, axis=-1, keepdims=True)
    centered = x - mean
    variance = jnp.mean(centered**2, axis=-1, keepdims=True)
    return centered * jax.lax.rsqrt(variance + _EPSILON) * _to_rows(scale) + _to_rows(offset)


def _to_rows(parameter: Float[Array, "*e I"]) -> Array:
    """Insert the batch axis: ``[I]`` to ``[1, I]``, ``[E, I]`` to ``[E, 1, I]``."""
    return parameter[..., None, :]


def _dropped(x: Float[Array, "*e N I"], rate: float | tuple[float, ...], key: PRNGKeyArray) -> Array:
    """Dropout, with one rate or one for each member."""
    rates = np.asarray(rate)
    if not rates.any():
        return x
    rates = rates.reshape(rates.shape + (1, 1) * rates.ndim)
    kept = hashed_bits(draw_seed(key), x.shape) >= np.round(rates * 2**32).astype(np.uint32)
    return jnp.where(kept, x / (1.0 - rates).astype(np.float32), 0.0)


class NormedMLP(nnx.Module):
    """Blocks of affine map, dropout (in the first one), layer norm and mish; the last is affine or ends in SimNorm.

    ``members`` is the size of an ensemble; ``None`` for a single network without a member axis. ``dropout`` is the
    probability of zeroing an output of the first affine map in training, of all members or of each; ``simnorm_dim`` the
    group size of SimNorm in the last block, which is affine without it. ``zero_last`` starts the last kernel with 0.
    """

    def __init__(
        self,
        n_in: int,
        hidden: tuple[int, ...],
        n_out: int,
        *,
        members: int | None = None,
        dropout: float | tuple[float, ...] = 0.0,
        simnorm_dim: int | None = None,
        zero_last: bool = False,
        rngs: nnx.Rngs,
    ):
        self.n_layers = len(hidden) + 1
        self.dropout = dropout
        self.simnorm_dim = simnorm_dim
        lead = () if members is None else (members,)
        init = nnx.initializers.truncated_normal(_INIT_STD)
        for i, (width_in, width_out) in enumerate(zip((n_in, *hidden), (*hidden, n_out), strict=True)):
            last = i == self.n_layers - 1
            shape = (*lead, width_in, width_out)
            kernel = jnp.zeros(shape) if last and zero_last else init(rngs.params(), shape, jnp.float32)
            setattr(self, f"kernel{i}", nnx.Param(kernel))
            setattr(self, f"bias{i}", nnx.Param(jnp.zeros((*lead, width_out))))
            if not last or simnorm_dim is not None:
                setattr(self, f"scale{i}", nnx.Param(jnp.ones((*lead, width_out))))
                setattr(self, f"offset{i}", nnx.Param(jnp.zeros((*lead, width_out))))

    def __call__(self, x: Float[Array, "N I"], dropout_key: PRNGKeyArray | None = None) -> Array:
        """Apply to a batch, with dropout if there is a key: ``[N, O]``, or ``[E, N, O]`` for an ensemble."""
        for i in range(self.n_layers):
            kernel, bias = getattr(self, f"kernel{i}")[...], getattr(self, f"bias{i}")[...]
            x = jnp.matmul(x, kernel) + _to_rows(bias)
            if i == 0 and dropout_key is not None:
                x = _dropped(x, self.dropout, dropout_key)
            last = i == self.n_layers - 1
            if last and self.simnorm_dim is None:
                return x
            x = layer_norm(x, getattr(self, f"scale{i}")[...], getattr(self, f"offset{i}")[...])
            x = mish(x) if not last or self.simnorm_dim is None else simnorm(x, self.simnorm_dim)
        return x
