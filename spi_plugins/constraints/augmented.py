r"""The augmented Lagrangian of SPOWL (arXiv:2506.04828, Eq. 10) on rollouts.

SPOWL's gap is its cost critic's value minus a limit. Here it is that of an episode, as the new policy would have it,

.. math:: g_i(\theta) = J_i - d_i + T\, (L^{C_i}_{CLIP}(\theta) - E[A_{c,i}])

with the mean length :math:`T` of an episode and P3O's clipped surrogate; the policy's loss has
:math:`\psi(g_i) / T` (``losses.lagrangian``), whose gradient is that of the surrogate at the price
:math:`\max(\lambda_i + \mu_i g_i, 0)`. The multipliers rise once per rollout, after the policy's steps.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from spi_plugins.constraints.method import ConstraintMethod, Episodes, Samples, cost_surrogate
from spi_plugins.hyperparameters import Config, configured, hyperparameter
from spi_plugins.losses.lagrangian import Multipliers, augmented_lagrangian, raise_multipliers
from spi_plugins.returns import masked_mean


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentedConfig(Config):
    """Settings of ``augmented``; SPOWL's own are for multipliers that rise a million times."""

    multiplier_init: float = hyperparameter(0.0, "First multiplier λ", low=0)
    penalty_init: float = hyperparameter(
        0.01, "First weight μ of the squared cost above the limit, and rate of the multiplier", above=0
    )
    penalty_rate: float = hyperparameter(0.0, "Relative growth of μ per rollout", low=0)
    multiplier_max: float | None = hyperparameter(10.0, "Upper bound of the multiplier, if any", above=0)


class Standing(NamedTuple):
    """The multipliers, and by how much the last episodes were above their limits."""

    multipliers: Multipliers  # arrays [K]
    gap: Float[Array, " K"]
    length: Float[Array, ""]  # steps of an episode


def make_augmented(**settings: Any) -> ConstraintMethod:
    """Make the method from fields of ``AugmentedConfig``.

    Raises:
        ValueError: a setting is unknown or out of range.
    """
    config = configured(AugmentedConfig, settings, "constraint_kwargs of 'augmented'")
    highest = math.inf if config.multiplier_max is None else config.multiplier_max

    def init(limits: Array) -> Standing:
        start = (
            jnp.full(limits.shape, x, jnp.float32) for x in (config.multiplier_init, config.penalty_init)
        )
        return Standing(Multipliers(*start), jnp.zeros(limits.shape), jnp.ones(()))

    def update(state: Standing, episodes: Episodes, limits: Array) -> Standing:
        # First what the last steps of the policy leave to do.
        raised = raise_multipliers(state.gap, state.multipliers, config.penalty_rate, highest)
        return Standing(raised, episodes.cost - limits, episodes.length)

    def penalty(state: Standing, samples: Samples) -> Array:
        columns = range(samples.cost_advantage.shape[1])
        before = jnp.stack([masked_mean(samples.cost_advantage[:, k], samples.valid) for k in columns])
        gap = state.gap + state.length * (cost_surrogate(samples) - before)
        return jnp.sum(augmented_lagrangian(gap, state.multipliers)) / state.length

    return ConstraintMethod(
        init=init,
        update=update,
        advantage=lambda state, reward, cost: reward,
        multipliers=lambda state: jnp.maximum(
            state.multipliers.multiplier + state.multipliers.penalty * state.gap, 0.0
        ),
        penalty=penalty,
    )
