"""The strict neighborhood: an update is walked back until no probability ratio of the batch leaves ``[2 - C, C]``."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from spi_plugins.agents.deep_spi.config import DeepSPIConfig
from spi_plugins.agents.deep_spi.minibatches import Minibatch
from spi_plugins.agents.on_policy import Parts, evaluate
from spi_plugins.certificates.ratios import Extremes, inside, ratio_extremes
from spi_plugins.distributions import masked
from spi_plugins.types import Params

HALVINGS = 12  # then the old parameters stay


class Walk(NamedTuple):
    """What the walk reports; ratios are over all actions, and those of the encoder's drift are in them."""

    step_kept: Float[Array, ""]  # share of the way from the old parameters to the new ones
    walked_back: Float[Array, ""]  # 1 if that is not the whole way
    neighborhood_max: Float[Array, ""]  # largest ratio after the walk
    neighborhood_min: Float[Array, ""]
    # Of the update before, in the states of this rollout, which it could not see:
    fresh_max: Float[Array, ""]
    fresh_outside: Float[Array, ""]  # share of the states with a ratio outside


def bound(config: DeepSPIConfig, clip_range: Array) -> Float[Array, ""]:
    """C as a number."""
    if config.C is None:
        return 1.0 + clip_range
    if isinstance(config.C, str):
        return jnp.asarray(1.0 / config.gamma if config.gamma > 0 else jnp.inf)
    return jnp.asarray(config.C)


def walk_back(
    parts: Parts, previous: Params, old: Params, new: Params, rows: Minibatch, clip_range: Array
) -> tuple[Params, Walk]:
    """Halve the step from ``old`` to ``new`` until every ratio is inside; at worst it is 0.

    ``previous`` are the policy's parameters before those of ``old``: the states of this rollout are fresh to the update
    that led from one to the other.
    """
    n_rows = rows.reward.shape[0]
    obs = jax.tree.map(lambda x: x[:n_rows], rows.obs)
    constant = bound(parts.config, clip_range)

    def logits(params: Params) -> Array:
        return masked(evaluate(parts, params, obs).parameters, rows.action_masks)

    before = logits(old)

    def extremes(from_logits: Array, to_logits: Array) -> Extremes:
        found = ratio_extremes(parts.actions, from_logits, to_logits)
        return Extremes(*(jnp.where(rows.valid, each, 0.0) for each in found))

    def at(share: Array) -> Params:
        return jax.tree.map(lambda a, b: jnp.where(share < 1.0, a + share * (b - a), b), old, new)

    def outside(carry: tuple[Array, Extremes]) -> Array:
        share, found = carry
        return (share > 0.0) & ~jnp.all(inside(found, constant))

    def halve(carry: tuple[Array, Extremes]) -> tuple[Array, Extremes]:
        share = jnp.where(carry[0] > 2.0**-HALVINGS, 0.5 * carry[0], 0.0)
        return share, extremes(before, logits(at(share)))

    whole = jnp.ones(())
    share, found = jax.lax.while_loop(outside, halve, (whole, extremes(before, logits(new))))
    fresh = extremes(logits({**old, "policy": previous}), before)
    n_valid = jnp.maximum(jnp.sum(rows.valid), 1)
    return at(share), Walk(
        step_kept=share,
        walked_back=(share < 1.0).astype(jnp.float32),
        neighborhood_max=jnp.exp(jnp.max(found.largest)),
        neighborhood_min=jnp.exp(jnp.min(found.smallest)),
        fresh_max=jnp.exp(jnp.max(fresh.largest)),
        fresh_outside=jnp.sum(~inside(fresh, constant)) / n_valid,
    )
