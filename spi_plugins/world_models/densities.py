"""Reparameterized samples of the next latent: functions of the latent and the action for fixed noise."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, PRNGKeyArray, UInt32

from spi_plugins.networks.blocks import DensityOutputs, LipschitzOutputs, in_blocks
from spi_plugins.networks.fusion import materialized
from spi_plugins.networks.hashed_bits import draw_seed, hashed_bits

SCALE_FLOOR = 1e-6
# Odd polynomial in t = 2u - 1 for the normal quantile at u where that is in [-1, 1]: least squares under the
# constraint that its ends are +-1; coefficients of t, t^3, ... The error is below 6e-5. Outside it is monotone.
_QUANTILE = (1.2527766528318276, 0.3421448266140754, 0.0856475106978713, 0.3353749436371708)


def clipped_noise(seed: UInt32[Array, "2"], shape: tuple[int, ...]) -> Float[Array, " *shape"]:
    """Draw standard normal noise clipped to [-1, 1]: mean 0, variance 0.5161, and 15.87 % on each end.

    Only the middle of the quantile function is needed, which an odd polynomial in a uniform variable approximates.
    """
    words = hashed_bits(seed, shape)
    t = lax.bitcast_convert_type(words, jnp.int32).astype(jnp.float32) * (1.0 / 2**31)
    square = jnp.square(t)
    value = jnp.full_like(t, _QUANTILE[-1])
    for coefficient in _QUANTILE[-2::-1]:
        value = value * square + coefficient
    return jnp.clip(value * t, -1.0, 1.0)


@jax.custom_jvp
def softplus(x: Float[Array, " *any"]) -> Float[Array, " *any"]:
    """``log(1 + exp(x))`` with a relative error of 3e-7, several times as fast as ``jax.nn.softplus`` on the CPU.

    ``log(1 + u)`` is ``2 atanh(u / (2 + u))``, whose series is short for arguments up to 1/3.
    """
    u = jnp.exp(-jnp.abs(x))
    ratio = u / (2.0 + u)
    square = jnp.square(ratio)
    series = jnp.full_like(x, 1 / 11)
    for divisor in (9, 7, 5, 3, 1):
        series = series * square + 1 / divisor
    return jnp.maximum(x, 0.0) + 2.0 * ratio * series


@softplus.defjvp
def _softplus_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (tangent,) = primals, tangents
    return softplus(x), jax.nn.sigmoid(x) * tangent


def standard_deviation(scale: Float[Array, " *any"]) -> Float[Array, " *any"]:
    """Positive standard deviations from a net's raw output."""
    return softplus(scale) + SCALE_FLOOR


def lipschitz_sample(
    outputs: LipschitzOutputs, key: PRNGKeyArray | None, constant: float
) -> Float[Array, "B G C M"]:
    """Sample next latents whose Lipschitz constant in the current latent is at most ``constant``, for fixed noise.

    With ``K`` the constant, and scales of the latent, component k is ``K/2 loc_k + K/2 (softplus(s_k) + 1e-6) n_k``
    with ``n_k`` clipped to [-1, 1]. The sample is the components' average with weights that do not depend on the
    latent, as in the published "mixture", which does not sample one component either. Location and scale maps are each
    1-Lipschitz in the norm of the whole latent (their kernels are divided by ``networks.spectral`` bounds), softplus is
    1-Lipschitz entry by entry, and ``|n_k| <= 1``, so a component moves at most ``K/2 + K/2`` times as far as the
    latent, and so does an average with fixed weights. Its mean moves at most half as far: such a model cannot represent
    ``z' = z``.

    Where the scales do not depend on the latent, neither does the noise, and the location has all of the constant:
    component k is ``K loc_k + K/2 (softplus(s_k) + 1e-6) n_k``. Without a scale, the latent is ``K loc``. Without a
    key, it is the mean.
    """
    batch, location = outputs.blocks.shape[0], outputs.blocks[:, :, 0]
    share = 1.0 if outputs.blocks.shape[2] == 1 else 0.5
    if key is None or (share == 1.0 and outputs.scale is None):
        return share * constant * location
    weights = jnp.ones((1, 1, 1, 1, 1))
    if outputs.log_weights is not None:
        weights = in_blocks(jnp.exp(outputs.log_weights), batch)
    seed = draw_seed(key)
    if outputs.scale is None:
        return 0.5 * constant * _noisy_blend(outputs.blocks, weights, seed)
    components = outputs.scale.shape[2]
    noise = clipped_noise(seed, (*location.shape[:2], components, *location.shape[2:]))
    deviation = jnp.sum(weights * standard_deviation(outputs.scale) * noise, axis=2)
    return constant * location + 0.5 * constant * deviation


@jax.custom_vjp
def _noisy_blend(
    blocks: Float[Array, "B G S C M"], weights: Float[Array, "b 1 K 1 m"], seed: UInt32[Array, "2"]
) -> Float[Array, "B G C M"]:
    """The first slice, plus the weighted sum of deviations whose scales are the other slices.

    It has its own gradient because XLA's would pad the slices, at several times the cost. The noise is drawn once: the
    hash costs more than the memory.
    """
    return _noisy_blend_forward(blocks, weights, seed)[0]


def _first_slice(blocks: Float[Array, "B G S C M"]) -> Bool[Array, "1 1 S 1 1"]:
    return (jnp.arange(blocks.shape[2]) == 0)[None, None, :, None, None]


def _noisy_blend_forward(
    blocks: Float[Array, "B G S C M"], weights: Float[Array, "b 1 K 1 m"], seed: UInt32[Array, "2"]
) -> tuple[Float[Array, "B G C M"], tuple[Array, ...]]:
    noise = materialized(clipped_noise(seed, blocks.shape))
    deviation = standard_deviation(blocks) * noise
    blend = blocks[:, :, 0]
    for i in range(1, blocks.shape[2]):
        blend = blend + weights[:, :, i - 1] * deviation[:, :, i]
    return materialized(blend), (blocks, weights, noise, deviation)


def _noisy_blend_backward(
    saved: tuple[Array, ...], cotangent: Float[Array, "B G C M"]
) -> tuple[Float[Array, "B G S C M"], Float[Array, "b 1 K 1 m"], None]:
    blocks, weights, noise, deviation = saved
    cotangent = materialized(cotangent)
    slope = jnp.where(_first_slice(blocks), 1.0, jax.nn.sigmoid(blocks) * noise)
    factors = materialized(jnp.concatenate([jnp.ones_like(weights[:, :, :1]), weights], axis=2))
    to_blocks = factors * slope * cotangent[:, :, None]
    if weights.shape[-1] == 1:
        by_slice = [
            jnp.sum(deviation[:, :, i] * cotangent, axis=(1, 2, 3)) for i in range(1, blocks.shape[2])
        ]
        to_weights = in_blocks(jnp.stack(by_slice, axis=1), blocks.shape[0])
    else:
        by_entry = deviation[:, :, 1:] * cotangent[:, :, None]
        to_weights = jnp.sum(by_entry, axis=(1, 3), keepdims=True)
    missing = tuple(i for i in range(5) if weights.shape[i] == 1)
    return to_blocks, jnp.sum(to_weights, axis=missing, keepdims=True), None


_noisy_blend.defvjp(_noisy_blend_forward, _noisy_blend_backward)


def sample(outputs: DensityOutputs, key: PRNGKeyArray | None) -> Float[Array, "B G C M"]:
    """Sample next latents with normal noise; without a key, or from a deterministic net, their mean."""
    if outputs.scale is None:
        return outputs.loc[:, :, 0]
    components = outputs.loc
    if key is not None:
        noise = jax.random.normal(key, outputs.scale.shape)
        components = components + standard_deviation(outputs.scale) * noise
    if outputs.log_weights is None:
        return components[:, :, 0]
    return jnp.sum(in_blocks(jnp.exp(outputs.log_weights), components.shape[0]) * components, axis=2)
