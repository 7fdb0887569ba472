r"""Estimates of action sequences by a model: return, discounted cost, and cost within the horizon.

SPOWL (arXiv:2506.04828), section 4.2, after TD-MPC2: the rewards of ``H`` steps of the model, followed by the critic at
an action of the policy,

.. math::
    J = \sum_{t<H} \gamma^t r_t + \gamma^H Q(z_H, a_H), \qquad
    J^c = \sum_{t<H} \gamma_c^t c_t + \gamma_c^H Q^c(z_H, a_H).

Everything after a step that ends the episode with probability ``p`` is weighted by ``1 - p``.
"""

from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from spi_plugins.backend import loop
from spi_plugins.planners.planner import Latent, head_of
from spi_plugins.types import Params
from spi_plugins.world_models.model import Model

CostAggregation: TypeAlias = Literal["mean", "max"]


class Estimate(NamedTuple):
    """What is expected of ``N`` action sequences; all numbers are finite."""

    value: Float[Array, " N"]  # J
    cost_value: Float[Array, " N"]  # J^c; 0 without costs
    local_cost: Float[Array, " N"]  # undiscounted, within the horizon, by the highest head at each step


class _Sums(NamedTuple):
    z: Float[Array, " N *Z"]
    alive: Float[Array, " N"]  # probability that the episode has not ended
    rewards: Float[Array, " N"]
    costs: Float[Array, " N"]
    local_cost: Float[Array, " N"]


def draw_heads(key: Array, n_heads: int) -> Int[Array, " 2"] | None:
    """Draw a uniform pair of heads; ``None``, which means all, if there are at most two."""
    pairs = draw_pairs(key, n_heads, 1)
    return None if pairs is None else pairs[0]


def draw_pairs(key: Array, n_heads: int, n: int) -> Int[Array, "n 2"] | None:
    """Draw ``n`` pairs as ``draw_heads`` does, in one call, because each call of the generator adds compile time."""
    if n_heads <= 2:
        return None
    numbers = (n_heads * (n_heads - 1) * jax.random.uniform(key, (n,))).astype(jnp.int32)
    first, offset = jnp.divmod(numbers, n_heads - 1)
    return jnp.stack([first, (first + 1 + offset) % n_heads], axis=1)


def policy_sequences(
    model: Model, params: Params, z: Float[Array, " N *Z"], horizon: int, key: Array
) -> Shaped[Array, "H N *S"]:
    """Sample sequences of the model's policy from latents ``z``, along the model's own predictions."""
    head = head_of(model.spec)

    def advance(z: Array, keys: Array) -> tuple[Array, Array]:
        assert model.policy is not None
        action = head.bounded(model.policy(params, z, keys[0], deterministic=False))
        return model.step(params, z, action, keys[1]).next_z, action

    _, actions = loop(advance, z, jax.random.split(key, (horizon, 2)))
    sequences: Array = actions
    return sequences


def estimate(
    model: Model,
    params: Params,
    z: Latent,
    actions: Shaped[Array, "H N *S"],
    key: Array,
    *,
    members: Int[Array, " M"] | None = None,
    with_cost: bool,
    cost_aggregation: CostAggregation = "mean",
) -> Estimate:
    """Unroll the model along action sequences from one latent, and sum up rewards and costs.

    Args:
        model: the world; its critics and its policy are used if it has them.
        params: the model's parameters.
        z: the latent at which each sequence starts.
        actions: the sequences.
        key: randomness of the model and the policy.
        members: heads of the reward critic to average; ``None`` draws a pair by the key.
        with_cost: whether to compute costs; they are 0 otherwise.
        cost_aggregation: how ``cost_value`` aggregates the heads of the immediate cost: by their mean, as in SPOWL's
            code, or by the highest, as in its paper.

    Returns:
        Finite numbers: NaN becomes 0, infinities the largest number.
    """
    spec = model.spec
    horizon, n = actions.shape[:2]
    if members is None:
        heads_key, key = jax.random.split(key)
        members = draw_heads(heads_key, spec.n_values)
    keys = jax.random.split(key, 1 + horizon)
    # Powers are computed in float64, on the host.
    powers = np.arange(horizon + 1)
    gammas = jnp.asarray(spec.gamma**powers, jnp.float32)
    cost_gammas = jnp.asarray(spec.cost_gamma**powers, jnp.float32)

    def advance(sums: _Sums, inputs: tuple[Array, Array, Array, Array]) -> tuple[_Sums, None]:
        action, gamma, cost_gamma, key = inputs
        step = model.step(params, sums.z, action, key)
        costs, local_cost = sums.costs, sums.local_cost
        if with_cost and spec.n_costs:
            highest = jnp.max(step.cost, axis=0)
            immediate = highest if cost_aggregation == "max" else jnp.mean(step.cost, axis=0)
            costs = costs + cost_gamma * sums.alive * immediate
            local_cost = local_cost + sums.alive * highest
        rewards = sums.rewards + gamma * sums.alive * step.reward
        alive = sums.alive * (1.0 - step.terminated) if spec.has_termination else sums.alive
        return _Sums(step.next_z, alive, rewards, costs, local_cost), None

    zero = jnp.zeros(n)
    start = _Sums(jnp.broadcast_to(z[None], (n, *z.shape)), jnp.ones(n), zero, zero, zero)
    sums, _ = loop(advance, start, (actions, gammas[:-1], cost_gammas[:-1], keys[1:]))
    tail, cost_tail = _terminal(model, params, sums, actions[-1], keys[0], members, with_cost)
    parts = sums.rewards + gammas[-1] * tail, sums.costs + cost_gammas[-1] * cost_tail, sums.local_cost
    return Estimate(*(jnp.nan_to_num(part) for part in parts))


def _terminal(
    model: Model,
    params: Params,
    sums: _Sums,
    last_action: Array,
    key: Array,
    members: Array | None,
    with_cost: bool,
) -> tuple[Float[Array, " N"], Float[Array, " N"]]:
    """What the critics expect after the horizon; 0 without critics."""
    action = last_action
    if model.policy is not None:
        action = head_of(model.spec).bounded(model.policy(params, sums.z, key, deterministic=False))
    tail = cost_tail = jnp.zeros(len(last_action))
    if model.value is not None:
        tail = sums.alive * jnp.mean(model.value(params, sums.z, action, members), axis=0)
    if with_cost and model.cost_value is not None:
        cost_tail = sums.alive * jnp.mean(model.cost_value(params, sums.z, action, None), axis=0)
    return tail, cost_tail
