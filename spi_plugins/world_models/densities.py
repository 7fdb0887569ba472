"""Reparameterized samples of the next latent: for fixed noise, functions of the latent and the action."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from spi_plugins.networks.transition import DensityOutputs

SCALE_FLOOR = 1e-6
# A standard normal is inside [-1, 1] with this probability.
CENTRAL_MASS = 0.6826894921370859
# Odd polynomial in t = 2u - 1 for the normal quantile at u, on |t| <= CENTRAL_MASS: least squares under the
# constraint that its ends are +-1; coefficients of t, t^3, ... The error is below 6e-5, the step of a 16-bit
# u 4e-5 to 6e-5.
_QUANTILE = (1.2527766528318276, 0.3421448266140754, 0.0856475106978713, 0.3353749436371708)


def clipped_normal(key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, " *shape"]:
    """Standard normal noise clipped to [-1, 1]: a mass of 15.87 % lies on each end.

    Only the middle of the quantile function is ever needed, an odd polynomial in the uniform variable. 16
    random bits an entry suffice, so each 32-bit word serves two.

    Args:
        key: consumed.
        shape: of the noise.

    Returns:
        Array in [-1, 1] with mean 0 and variance 0.5161.
    """
    size = 1
    for n in shape:
        size *= n
    words = jax.random.bits(key, ((size + 1) // 2,), jnp.uint32)
    halves = jnp.concatenate([words & 0xFFFF, words >> 16])[:size].reshape(shape)
    t = (halves.astype(jnp.int32).astype(jnp.float32) - 32767.5) * (1.0 / 32768.0)
    t = jnp.clip(t, -CENTRAL_MASS, CENTRAL_MASS)
    square = jnp.square(t)
    value = jnp.full_like(t, _QUANTILE[-1])
    for coefficient in _QUANTILE[-2::-1]:
        value = value * square + coefficient
    return jnp.clip(value * t, -1.0, 1.0)


def lipschitz_sample(outputs: DensityOutputs, key: PRNGKeyArray, constant: float) -> Float[Array, "B G M C"]:
    """Next latents whose Lipschitz constant in the current latent is at most ``constant``, for fixed noise.

    Component k is ``K/2 loc_k + K/2 (softplus(s_k) + 1e-6) n_k`` with ``n_k`` clipped to [-1, 1], the sample
    their average with weights that do not depend on the latent. Location and scale maps are each 1-Lipschitz
    in the norm of the whole latent, softplus is 1-Lipschitz entry by entry and ``|n_k| <= 1``, so a component
    moves at most ``K/2 + K/2`` times as far as the latent; an average with fixed weights does no worse.
    Without a scale, the latent is ``K loc``.

    Args:
        outputs: of a Lipschitz transition net.
        key: consumed.
        constant: ``K``.
    """
    if outputs.scale is None:
        return constant * outputs.loc[..., 0, :]
    noise = clipped_normal(key, outputs.loc.shape)
    components = outputs.loc + (jax.nn.softplus(outputs.scale) + SCALE_FLOOR) * noise
    return 0.5 * constant * blend(components, outputs.logits)


def sample(outputs: DensityOutputs, key: PRNGKeyArray) -> Float[Array, "B G M C"]:
    """Next latents with plain normal noise; a deterministic net's location as it is."""
    if outputs.scale is None:
        return outputs.loc[..., 0, :]
    noise = jax.random.normal(key, outputs.loc.shape)
    return blend(outputs.loc + standard_deviation(outputs.scale) * noise, outputs.logits)


def standard_deviation(scale: Float[Array, " *any"]) -> Float[Array, " *any"]:
    """Positive standard deviations from a net's raw output."""
    return jax.nn.softplus(scale) + SCALE_FLOOR


def blend(
    components: Float[Array, "B G M K C"], logits: Float[Array, "B K"] | None
) -> Float[Array, "B G M C"]:
    """The weighted average of the components: the published "mixture" samples this, not one of them."""
    if logits is None:
        return components[..., 0, :]
    return jnp.einsum("bk,bgmkc->bgmc", jax.nn.softmax(logits), components)
