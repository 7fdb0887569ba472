"""What a constraint method is: a state that follows the costs of episodes, and what it does to the policy's objective.

Shape letters: ``K`` constraints, ``B`` samples of a minibatch.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from spi_plugins.types import Params, PyTree


class Episodes(NamedTuple):
    """Means over the episodes that ended in a rollout, of which there is at least one."""

    cost: Float[Array, " K"]  # undiscounted
    length: Float[Array, ""]  # steps


class Samples(NamedTuple):
    """What a method's penalty sees of a minibatch."""

    ratio: Float[Array, " B"]  # of the new policy's probability to the old one's
    cost_advantage: Float[Array, "B K"]
    valid: Bool[Array, " B"]  # false in rows that do not count
    clip_range: Float[Array, ""]


class Surrogates(NamedTuple):
    """What a policy's parameters promise on all rows of a rollout."""

    reward: Float[Array, ""]  # mean of ratio times advantage
    cost: Float[Array, " K"]  # mean of ratio times cost advantage
    kl: Float[Array, ""]  # mean divergence of the new policy from the old one


Evaluate: TypeAlias = Callable[[Params], Surrogates]


class ConstraintMethod(NamedTuple):
    """Pure functions. The state is a pytree of arrays; it moves once per rollout, before the policy does.

    Attributes:
        init: ``(limits [K]) -> state``.
        update: ``(state, Episodes, limits [K]) -> state``; not called after a rollout in which no episode ended.
        advantage: ``(state, advantage [B], cost_advantage [B, K]) -> [B]``, what the probability ratio multiplies in
            the surrogate. Where advantages are normalized, ``advantage`` has mean 0 and deviation 1 in the minibatch,
            and ``cost_advantage`` mean 0.
        multipliers: ``(state) -> [K]``, the price of each cost, for the log; ``None`` for a method without prices.
        penalty: ``(state, Samples) -> scalar``, added to the policy's loss; ``None`` for nothing.
        surrogate: ``(ratio, utility, kl) -> [B]``, the policy's loss of each sample instead of the clipped surrogate,
            with the KL divergence of each state's new policy from the old one.
        step: ``(state, evaluate, actor) -> actor``, the policy's only step in an update, instead of gradient steps on a
            loss; ``evaluate`` tells the ``Surrogates`` of an actor's parameters.
    """

    init: Callable[[Array], PyTree]
    update: Callable[[PyTree, Episodes, Array], PyTree]
    advantage: Callable[[PyTree, Array, Array], Array]
    multipliers: Callable[[PyTree], Array] | None = None
    penalty: Callable[[PyTree, Samples], Array] | None = None
    surrogate: Callable[[Array, Array, Array], Array] | None = None
    step: Callable[[PyTree, Evaluate, Params], Params] | None = None


def cost_surrogate(samples: Samples) -> Float[Array, " K"]:
    r""":math:`E[\max(\rho A_c, \mathrm{clip}(\rho) A_c)]`: PPO's clipped surrogate, pessimistic about the cost."""
    ratio, epsilon = samples.ratio[:, None], samples.clip_range
    clipped = jnp.clip(ratio, 1.0 - epsilon, 1.0 + epsilon)
    each = jnp.maximum(ratio * samples.cost_advantage, clipped * samples.cost_advantage)
    counted = jnp.where(samples.valid[:, None], each, 0.0)
    return jnp.sum(counted, axis=0) / jnp.maximum(jnp.sum(samples.valid), 1)


def priced_advantage(
    advantage: Float[Array, " B"],
    cost_advantage: Float[Array, "B K"],
    price: Float[Array, " K"],
    *,
    normalize: bool,
) -> Float[Array, " B"]:
    r""":math:`A - \sum_i \lambda_i A_{c,i}`, with ``normalize`` divided by :math:`1 + \sum_i \lambda_i`.

    Dividing keeps the size of the policy's step while the prices grow (Stooke et al., 2020, arXiv:2007.03964,
    section 5.2).
    """
    priced = advantage - cost_advantage @ price
    return priced / (1.0 + jnp.sum(price)) if normalize else priced
