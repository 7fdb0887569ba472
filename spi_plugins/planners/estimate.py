r"""What a model expects of action sequences: return, discounted cost, and cost within the horizon.

SPOWL (arXiv:2506.04828), section 4.2, after TD-MPC2: rewards of ``H`` imagined steps and, behind them, the critic
at an action of the policy,

.. math::
    J = \sum_{t<H} \gamma^t r_t + \gamma^H Q(z_H, a_H), \qquad
    J^c = \sum_{t<H} \gamma_c^t c_t + \gamma_c^H Q^c(z_H, a_H).

Everything after a step that ends the episode with probability ``p`` counts ``1 - p``.
"""

from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from spi_plugins.types import Params
from spi_plugins.world_models.model import Model

CostAggregation: TypeAlias = Literal["mean", "max"]

# Short horizons are unrolled: XLA then drops what nobody reads, and fuses across the steps.
_MAX_UNROLLED = 8


class Estimate(NamedTuple):
    """What is expected of ``N`` action sequences; all finite."""

    value: Float[Array, " N"]  # J
    cost_value: Float[Array, " N"]  # J^c; 0 without costs
    local_cost: Float[
        Array, " N"
    ]  # undiscounted cost within the horizon, the highest of the heads at each step


class Unrolled(NamedTuple):
    """The parts of an estimate, by head of the critic, so that heads can be chosen later."""

    actions: Float[Array, "H N A"]
    rewards: Float[Array, " N"]  # discounted, within the horizon
    tails: Float[Array, "K N"]  # discounted critic behind it; K is 0 without a critic
    cost_value: Float[Array, " N"]
    local_cost: Float[Array, " N"]

    def estimate(self, members: Int[Array, " M"] | None = None) -> Estimate:
        """Average the heads ``members``, or all; NaN counts as 0, infinities as the largest number."""
        tails = self.tails if members is None else self.tails[members]
        value = self.rewards + jnp.mean(tails, axis=0) if len(tails) else self.rewards
        return Estimate(*(jnp.nan_to_num(part) for part in (value, self.cost_value, self.local_cost)))


class _Sums(NamedTuple):
    z: Float[Array, " N *Z"]
    alive: Float[Array, " N"]  # probability that the episode goes on
    rewards: Float[Array, " N"]
    costs: Float[Array, " N"]
    local_cost: Float[Array, " N"]


def draw_heads(key: Array, n_heads: int) -> Int[Array, " 2"] | None:
    """Draw two of the heads, each pair alike likely; ``None``, which means all, if there are not more."""
    pairs = draw_pairs(key, n_heads, 1)
    return None if pairs is None else pairs[0]


def draw_pairs(key: Array, n_heads: int, n: int) -> Int[Array, "n 2"] | None:
    """``draw_heads`` many times in one draw: every call of the generator takes its time to compile."""
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
    """Roll action sequences out in the model and sum up what happens.

    Args:
        model: its critics and its policy are used where it has them.
        params: of the model.
        z: where each sequence starts.
        actions: the sequences, or a number of steps to take by samples of the model's policy.
        key: of the model's and the policy's randomness.
        members: heads of the critic of rewards to compute, ``None`` for all.
        with_cost: whether costs are computed; else they are 0.
        cost_aggregation: of the heads of the immediate cost in ``cost_value``: their mean, as in SPOWL's
            code, or the highest, as in its paper.
    """
    spec = model.spec
    horizon = actions if isinstance(actions, int) else len(actions)
    keys = jax.random.split(key, 1 + 2 * horizon)
    value_key, step_keys, act_keys = keys[0], keys[1 : 1 + horizon], keys[1 + horizon :]
    # Powers in float64, before anything is traced.
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
    """What the critics expect behind the horizon; nothing where the model lacks them."""
    spec = model.spec
    action = last_action
    if model.policy is not None and spec.has_policy:
        action = _bounded(model.policy(params, sums.z, key, deterministic=False))
    tails = jnp.zeros((0, len(last_action)))
    cost_tail = jnp.zeros(len(last_action))
    if model.value is not None and spec.n_values:
        tails = sums.alive[None] * model.value(params, sums.z, action, members)
    if with_cost and model.cost_value is not None and spec.n_cost_values:
        cost_tail = sums.alive * jnp.mean(model.cost_value(params, sums.z, action, None), axis=0)
    return tails, cost_tail


def _bounded(action: Array) -> Array:
    """Actions of a policy that went wrong must not spread: NaN is 0 here, and nothing leaves [-1, 1]."""
    return jnp.clip(jnp.nan_to_num(action), -1.0, 1.0)


def estimate(
    model: Model,
    params: Params,
    z: Shaped[Array, "*Z"],
    actions: Float[Array, "H N A"],
    key: Array,
    *,
    with_cost: bool,
    cost_aggregation: CostAggregation = "mean",
) -> Estimate:
    """Estimate action sequences from one latent, the critic by two of its heads drawn for all of them.

    Args:
        model: the world.
        params: of the model.
        z: one latent.
        actions: ``N`` sequences, each entry in [-1, 1].
        key: of the pair of heads, the model's and the policy's randomness.
        with_cost: whether costs are computed; else they are 0.
        cost_aggregation: of the heads of the immediate cost in ``cost_value``.
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


def repeat_latent(z: Shaped[Array, "*Z"], n: int) -> Shaped[Array, " N *Z"]:
    """The same latent ``n`` times."""
    return jnp.broadcast_to(z[None], (n, *z.shape))
