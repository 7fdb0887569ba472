"""How far an update moved the policy, and whether it stayed in Deep SPI's neighborhood."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from spi_plugins.returns import masked_mean
from spi_plugins.sharding import apart


class RatioDiagnostics(NamedTuple):
    r"""Probability ratios of a batch against the neighborhood :math:`[2 - C, C]` with :math:`C = 1 + \epsilon`.

    The clipped surrogate does *not* keep ratios in the band, it only stops pushing them out; hence these numbers. The
    extremes are over the sampled actions of the batch, so the true ones may lie further out.
    """

    smallest: Float[Array, " D"]  # of each device's samples; reduced over devices after the update
    largest: Float[Array, " D"]
    outside: Float[Array, ""]  # share of the samples outside the band


def ratio_diagnostics(
    ratio: Float[Array, " B"], valid: Bool[Array, " B"], clip_range: Float[Array, ""] | float
) -> RatioDiagnostics:
    """Extremes of the ratios and the share that left ``[1 - clip_range, 1 + clip_range]``."""
    outside = (ratio < 1.0 - clip_range) | (ratio > 1.0 + clip_range)
    smallest, largest = apart(_extremes, None, ratio, valid)
    return RatioDiagnostics(smallest, largest, masked_mean(outside.astype(ratio.dtype), valid))


def _extremes(_: None, ratio: Array, valid: Array) -> tuple[Array, Array]:
    smallest, largest = jnp.min(jnp.where(valid, ratio, jnp.inf)), jnp.max(jnp.where(valid, ratio, -jnp.inf))
    return smallest[None], largest[None]
