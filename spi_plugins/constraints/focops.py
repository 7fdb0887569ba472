r"""FOCOPS: first-order steps toward the constrained problem's solution (Zhang et al., 2020, arXiv:2002.06506).

The loss of a sample (Eq. 15, with the indicator of section 4) is

.. math:: \left(\mathrm{KL}(\pi_\theta \| \pi_{old})[s] - \frac{\rho}{\lambda} U\right)
          1[\mathrm{KL}(\pi_\theta \| \pi_{old})[s] \le \delta]

with the priced advantage :math:`U`, as in OmniSafe divided by :math:`1 + \sum_i \nu_i`. The multipliers :math:`\nu_i`
follow the episodes' costs as in ``lagrangian``, with an upper bound.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from spi_plugins.constraints.lagrangian import LagrangianConfig, init_prices, raise_prices
from spi_plugins.constraints.method import ConstraintMethod, priced_advantage
from spi_plugins.hyperparameters import configured, hyperparameter, with_default


@dataclasses.dataclass(frozen=True, kw_only=True)
class FOCOPSConfig(LagrangianConfig):
    """Settings of ``focops``; the defaults are OmniSafe's, those of λ, δ and the bound also the paper's."""

    temperature: float = hyperparameter(
        1.5, "λ in the paper: the weight of staying near the old policy", above=0
    )
    delta: float = hyperparameter(
        0.02, "KL of a state's policy above which its samples are left out", above=0
    )
    max: float | None = with_default(LagrangianConfig, "max", 2.0)


def focops_surrogate(
    ratio: Float[Array, " B"],
    utility: Float[Array, " B"],
    kl: Float[Array, " B"],
    *,
    temperature: float,
    delta: float,
) -> Float[Array, " B"]:
    """The loss of each sample."""
    near = jax.lax.stop_gradient(kl) <= delta
    return jnp.where(near, kl - ratio * utility / temperature, 0.0)


def make_focops(**settings: Any) -> ConstraintMethod:
    """Make the method from fields of ``FOCOPSConfig``.

    Raises:
        ValueError: a setting is unknown or out of range.
    """
    config = configured(FOCOPSConfig, settings, "constraint_kwargs of 'focops'")
    return ConstraintMethod(
        init=lambda limits: init_prices(config, limits),
        update=lambda prices, episodes, limits: raise_prices(config, prices, episodes, limits),
        advantage=lambda prices, reward, cost: priced_advantage(
            reward, cost, prices.price, normalize=config.normalize
        ),
        multipliers=lambda prices: prices.price,
        surrogate=lambda ratio, utility, kl: focops_surrogate(
            ratio, utility, kl, temperature=config.temperature, delta=config.delta
        ),
    )
