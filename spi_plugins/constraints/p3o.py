r"""P3O: an exact penalty on the clipped cost surrogate (Zhang et al., 2022, arXiv:2205.11814, Eq. 15).

The policy's loss is the clipped surrogate of the reward plus

.. math:: \kappa \sum_i \max\left(0,\; L^{C_i}_{CLIP}(\theta) + \frac{J_i - d_i}{T}\right), \qquad
          L^{C_i}_{CLIP} = E\left[\max(\rho A_{c,i}, \mathrm{clip}(\rho, 1 \pm \epsilon) A_{c,i})\right].

The limit :math:`d_i` is of an episode's undiscounted cost, so its mean length :math:`T` stands where the paper, whose
costs are discounted, has :math:`1 / (1 - \gamma)`. OmniSafe has neither that factor nor the clip. With ``gain``, the
excess is that of a tightened limit, see ``excess``.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from spi_plugins.constraints.excess import Excess, follow, gain, init_excess
from spi_plugins.constraints.method import ConstraintMethod, Samples, cost_surrogate
from spi_plugins.hyperparameters import Config, configured, hyperparameter


@dataclasses.dataclass(frozen=True, kw_only=True)
class P3OConfig(Config):
    """Settings of ``p3o``; the default is the paper's and OmniSafe's."""

    kappa: float = hyperparameter(
        20.0, "Weight of the penalty, larger than any multiplier has to be", above=0
    )
    gain: float = gain()


def make_p3o(**settings: Any) -> ConstraintMethod:
    """Make the method from fields of ``P3OConfig``.

    Raises:
        ValueError: a setting is unknown or out of range.
    """
    config = configured(P3OConfig, settings, "constraint_kwargs of 'p3o'")

    def penalty(excess: Excess, samples: Samples) -> Array:
        return config.kappa * jnp.sum(jax.nn.relu(cost_surrogate(samples) + excess.per_step))

    return ConstraintMethod(
        init=lambda limits: init_excess(limits, 0.0),
        update=lambda excess, episodes, limits: follow(excess, episodes, limits, config.gain),
        advantage=lambda excess, reward, cost: reward,
        penalty=penalty,
    )
