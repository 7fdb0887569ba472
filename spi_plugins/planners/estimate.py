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

from spi_plugins.planners.planner import Latent
from spi_plugins.types import Params
from spi_plugins.world_models.model import Model

CostAggregation: TypeAlias = Literal["mean", "max"]

# Short horizons are unrolled, so that XLA drops unused results and fuses across steps.
_MAX_UNROLLED = 8


class Estimate(NamedTuple):
    """What is expected of ``N`` action sequences; all numbers are finite."""

    value: Float[Array, " N"]  # J
    cost_value: Float[Array, " N"]  # J^c; 0 without costs
    local_cost: Float[Array, " N"]  # undiscounted, within the horizon, by the highest head at each step


class Unrolled(NamedTuple):
    """The parts of an estimate by each head of the critic, so that heads can be chosen later."""

    actions: Float[Array, "H N A"]
    rewards: Float[Array, " N"]  # discounted, within the horizon
    tails: Float[Array, "K N"]  # discounted critic after the horizon; K is 0 without a critic
    cost_value: Float[Array, " N"]
    local_cost: Float[Array, " N"]

    def estimate(self, members: Int[Array, " M"] | None = None) -> Estimate:
        """Average the heads ``members``, or all; NaN becomes 0, infinities the largest number."""
        tails = self.tails if members is None else self.tails[members]
        value = self.rewards + jnp.mean(tails, axis=0) if len(tails) else self.rewards
        return Estimate(*(jnp.nan_to_num(part) for part in (value, self.cost_value, self.local_cost)))


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


def unroll(
    model: Model,
    params: Params,
    z: Float[Array, " N *Z"],
    actions: Float[Array, "H N A"] | int,
    key: Array,
    *,
    members: Int[Array, " M"] | None = None,
    with_cost: bool,
    cost_aggregation: CostAggregation = "mean",
) -> Unrolled:
    """Unroll the model along action sequences from latents ``z``, and sum up rewards and costs.

    Args:
        model: the world; its critics and its policy are used if it has them.
        params: the model's parameters.
        z: the latent at which each sequence starts.
        actions: the sequences, or the number of steps to take with samples of the model's policy.
        key: randomness of the model and the policy.
        members: heads of the reward critic to compute, ``None`` for all.
        with_cost: whether to compute costs; they are 0 otherwise.
        cost_aggregation: how ``cost_value`` aggregates the heads of the immediate cost: by their mean, as in SPOWL's
            code, or by the highest, as in its paper.
    """
    spec = model.spec
    horizon = actions if isinstance(actions, int) else len(actions)
    keys = jax.random.split(key, 1 + 2 * horizon)
    value_key, step_keys, act_keys = keys[0], keys[1 : 1 + horizon], keys[1 + horizon :]
    # Powers are computed in float64, on the host.
    powers = np.arange(horizon + 1)
    gammas = jnp.asarray(spec.gamma**powers, jnp.float32)
    cost_gammas = jnp.asarray(spec.cost_gamma**powers, jnp.float32)

    def advance(sums: _Sums, inputs: tuple[Array | None, Array, Array, Array, Array]) -> tuple[_Sums, Array]:
        action, gamma, cost_gamma, key, act_key = inputs
        if action is None:
            assert model.policy is not None
            action = _bounded(model.policy(params, sums.z, act_key, deterministic=False))
        step = model.step(params, sums.z, action, key)
        costs, local_cost = sums.costs, sums.local_cost
        if with_cost and spec.n_costs:
            highest = jnp.max(step.cost, axis=0)
            immediate = highest if cost_aggregation == "max" else jnp.mean(step.cost, axis=0)
            costs = costs + cost_gamma * sums.alive * immediate
            local_cost = local_cost + sums.alive * highest
        rewards = sums.rewards + gamma * sums.alive * step.reward
        alive = sums.alive * (1.0 - step.terminated) if spec.has_termination else sums.alive
        return _Sums(step.next_z, alive, rewards, costs, local_cost), action

    n = len(z)
    sums = _Sums(z, jnp.ones(n), jnp.zeros(n), jnp.zeros(n), jnp.zeros(n))
    given = None if isinstance(actions, int) else actions
    taken: Array
    if horizon <= _MAX_UNROLLED:
        rows = []
        for t in range(horizon):
            row = None if given is None else given[t]
            sums, action = advance(sums, (row, gammas[t], cost_gammas[t], step_keys[t], act_keys[t]))
            rows.append(action)
        taken = jnp.stack(rows)
    else:
        steps = (given, gammas[:-1], cost_gammas[:-1], step_keys, act_keys)
        sums, taken = jax.lax.scan(advance, sums, steps)
    tails, cost_tail = _terminal(model, params, sums, taken[-1], value_key, members, with_cost)
    return Unrolled(
        actions=taken,
        rewards=sums.rewards,
        tails=gammas[-1] * tails,
        cost_value=sums.costs + cost_gammas[-1] * cost_tail,
        local_cost=sums.local_cost,
    )


def _terminal(
    model: Model,
    params: Params,
    sums: _Sums,
    last_action: Array,
    key: Array,
    members: Array | None,
    with_cost: bool,
) -> tuple[Float[Array, "K N"], Float[Array, " N"]]:
    """What the critics expect after the horizon; no heads, and a cost of 0, without critics."""
    action = last_action
    if model.policy is not None:
        action = _bounded(model.policy(params, sums.z, key, deterministic=False))
    tails = jnp.zeros((0, len(last_action)))
    cost_tail = jnp.zeros(len(last_action))
    if model.value is not None:
        tails = sums.alive[None] * model.value(params, sums.z, action, members)
    if with_cost and model.cost_value is not None:
        cost_tail = sums.alive * jnp.mean(model.cost_value(params, sums.z, action, None), axis=0)
    return tails, cost_tail


def _bounded(action: Array) -> Array:
    """Clip to [-1, 1] with NaN as 0, so that a policy that diverged does not spoil everything."""
    return jnp.clip(jnp.nan_to_num(action), -1.0, 1.0)


def estimate(
    model: Model,
    params: Params,
    z: Latent,
    actions: Float[Array, "H N A"],
    key: Array,
    *,
    with_cost: bool,
    cost_aggregation: CostAggregation = "mean",
) -> Estimate:
    """Estimate action sequences that start at one latent, with two heads of the critic drawn for all of them.

    The arguments are those of ``unroll``, but ``z`` is one latent, and ``key`` draws the pair of heads too.
    """
    heads_key, unroll_key = jax.random.split(key)
    return unroll(
        model,
        params,
        repeat_latent(z, actions.shape[1]),
        actions,
        unroll_key,
        members=draw_heads(heads_key, model.spec.n_values),
        with_cost=with_cost,
        cost_aggregation=cost_aggregation,
    ).estimate()


def repeat_latent(z: Latent, n: int) -> Shaped[Array, " N *Z"]:
    """Repeat a latent ``n`` times."""
    return jnp.broadcast_to(z[None], (n, *z.shape))
