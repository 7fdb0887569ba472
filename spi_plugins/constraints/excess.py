r"""By how much the next policy has to lower its cost, for methods without multipliers.

A policy's step is chosen on the samples that its surrogate is measured on, so it promises more than it keeps, and a
method that only asks for the present excess :math:`J_i - d_i` settles above the limit. With a gain, the sum of all
excesses tightens the limit until the episodes meet the one that was asked for:

.. math:: I_i \leftarrow \mathrm{clip}(I_i + K (J_i - d_i), 0, d_i), \qquad \frac{J_i - d_i + I_i}{T}

per step of an episode of length :math:`T`. It is the integral term of ``pid``.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from spi_plugins.constraints.method import Episodes
from spi_plugins.hyperparameters import hyperparameter


class Excess(NamedTuple):
    """State of a method without multipliers."""

    per_step: Float[Array, " K"]  # what the next policy has to lower the cost by
    tightened: Float[Array, " K"]  # how far the limit of an episode is below the one asked for


def gain() -> Any:
    """Declare the hyperparameter."""
    return hyperparameter(
        0.0, "Rate at which the limit is tightened by the excess of the episodes; 0 as published", low=0
    )


def init_excess(limits: Float[Array, " K"], per_step: float) -> Excess:
    """The state before the first episode."""
    return Excess(jnp.full(limits.shape, per_step, jnp.float32), jnp.zeros(limits.shape))


def follow(excess: Excess, episodes: Episodes, limits: Float[Array, " K"], gain: float) -> Excess:
    """The state after episodes have ended."""
    above = episodes.cost - limits
    tightened = jnp.clip(excess.tightened + gain * above, 0.0, limits)
    return Excess((above + tightened) / episodes.length, tightened)
