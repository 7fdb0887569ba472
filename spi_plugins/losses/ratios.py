"""How far an update moved the policy, and whether it stayed in Deep SPI's neighborhood."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from spi_plugins.returns import masked_mean


class RatioDiagnostics(NamedTuple):
    r"""Probability ratios of a batch against the neighborhood :math:`[2 - C, C]` with :math:`C = 1 + \epsilon`.

    The clipped surrogate does *not* keep ratios in the band, it only stops pushing them out; hence these numbers. The
    extremes are over the sampled actions of the batch, so the true ones may lie further out.
    """

    smallest: Float[Array, ""]
    largest: Float[Array, ""]
    outside: Float[Array, ""]  # share of the samples outside the band


def ratio_diagnostics(
    ratio: Float[Array, "*S"], valid: Bool[Array, "*S"], clip_range: Float[Array, ""] | float
) -> RatioDiagnostics:
    """Extremes of the ratios and the share that left ``[1 - clip_range, 1 + clip_range]``."""
    outside = (ratio < 1.0 - clip_range) | (ratio > 1.0 + clip_range)
    return RatioDiagnostics(
        smallest=jnp.min(jnp.where(valid, ratio, jnp.inf)),
        largest=jnp.max(jnp.where(valid, ratio, -jnp.inf)),
        outside=masked_mean(outside.astype(ratio.dtype), valid),
    )
