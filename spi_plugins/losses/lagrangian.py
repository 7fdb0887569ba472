r"""The augmented Lagrangian of one constraint :math:`g \le 0`, Eq. 10 of SPOWL (arXiv:2506.04828).

With :math:`\kappa = \lambda + \mu g`,

.. math:: \psi = \lambda g + \tfrac{\mu}{2} g^2 \text{ if } \kappa > 0, \quad
          -\tfrac{\lambda^2}{2\mu} \text{ otherwise};\qquad
          \lambda \leftarrow \max(\kappa, 0),\quad \mu \leftarrow \min(\mu (1 + \nu), 1).

The paper prints a maximum in the last rule, which would set :math:`\mu` to 1 at once; the code takes the minimum.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float


class Multipliers(NamedTuple):
    """Multiplier of the constraint and weight of its square; of several constraints, arrays of them."""

    multiplier: Float[Array, "*K"]
    penalty: Float[Array, "*K"]


def augmented_lagrangian(gap: Float[Array, "*K"], multipliers: Multipliers) -> Float[Array, "*K"]:
    r"""Eq. 10 of SPOWL: :math:`\psi`, whose derivative by the gap is :math:`\max(\kappa, 0)`."""
    price, penalty = multipliers
    active = price * gap + 0.5 * penalty * gap**2
    return jnp.where(price + penalty * gap > 0, active, -(price**2) / (2.0 * penalty))


def raise_multipliers(
    gap: Float[Array, "*K"], multipliers: Multipliers, penalty_rate: float, multiplier_max: float
) -> Multipliers:
    """Eq. 10's update of the multipliers, after a gradient step on the policy.

    The gap is the cost minus its limit, ``penalty_rate`` the penalty's relative growth in a step. The paper has no
    ``multiplier_max``; infinity is none.
    """
    price, penalty = multipliers
    return Multipliers(
        jnp.clip(price + penalty * gap, 0.0, multiplier_max),
        jnp.clip(penalty * (1.0 + penalty_rate), penalty, 1.0),
    )
