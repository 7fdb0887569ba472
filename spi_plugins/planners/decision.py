r"""The adaptive decision of SPOWL (arXiv:2506.04828): the plan is executed only where it improves on the policy.

The critics compare the plan's action with one of the policy at the current latent: the plan's return must not be lower
and its cost must not be higher. The paper compares the means of the ensembles. The code that produced its results
compares with the bounds of a bootstrap interval instead, which lets more plans pass: the mean of two random heads of
:math:`Q` with the lower bound of all heads at the policy's action, and the mean of :math:`Q^c` with the upper bound.
"""

import functools
import itertools
import math
from typing import Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped
from numpy.typing import NDArray

from spi_plugins.checks import check_choice, check_number
from spi_plugins.planners.estimate import draw_heads
from spi_plugins.planners.planner import Decision, Latent, Planner, head_of
from spi_plugins.planners.refit import rounding
from spi_plugins.types import Params, PyTree
from spi_plugins.world_models.model import Model

Rule: TypeAlias = Literal["bootstrap", "mean"]

# Ensembles up to this size have few enough resamples to list them all: 1716.
_MAX_EXACT = 7
_RESAMPLES = 1000


class HeadValues(NamedTuple):
    """Values of the two actions by each head of a critic."""

    plan: Float[Array, " K"]
    policy: Float[Array, " K"]


class Verdict(NamedTuple):
    """Whether the plan passes, and the bounds it was compared with."""

    planned: Bool[Array, ""]
    value_low: Float[Array, ""]
    cost_value_high: Float[Array, ""] | None


def bootstrap_interval(
    heads: Float[Array, " K"], confidence: float = 0.95
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Lower and upper bound of the mean of an ensemble: the percentile bootstrap of its heads.

    With up to 7 heads all resamples are enumerated, so the bounds are exact. With more, 1000 resamples are drawn once
    and used for every interval.
    """
    counts, times = _resamples(len(heads))
    means: Array = jnp.einsum("mk,k->m", counts, heads) / len(heads)
    order = jnp.argsort(means)
    ends = jnp.cumsum(jnp.asarray(times)[order])  # of each value's run in the sorted resamples
    means = means[order]

    def at(position: int) -> Float[Array, ""]:
        return means[jnp.sum(ends <= position)]

    def percentile(share: float) -> Float[Array, ""]:
        position = share * (int(times.sum()) - 1)
        low = math.floor(position)
        return at(low) + (position - low) * (at(math.ceil(position)) - at(low))

    tail = (1.0 - confidence) / 2.0
    return percentile(tail), percentile(1.0 - tail)


@functools.lru_cache
def _resamples(n_heads: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """How often each head is drawn, ``[M, K]``, and how many resamples have these counts, ``[M]``."""
    if n_heads > _MAX_EXACT:
        drawn = np.random.default_rng(0).multinomial(n_heads, [1.0 / n_heads] * n_heads, _RESAMPLES)
        return drawn.astype(np.float32), np.ones(_RESAMPLES, np.int32)
    members = itertools.combinations_with_replacement(range(n_heads), n_heads)
    counts = np.array([np.bincount(chosen, minlength=n_heads) for chosen in members])
    orders = [math.factorial(n_heads) // math.prod(map(math.factorial, row)) for row in counts.tolist()]
    return counts.astype(np.float32), np.array(orders, np.int32)


def compare(
    value: HeadValues,
    cost_value: HeadValues | None,
    key: Array,
    *,
    rule: Rule = "bootstrap",
    confidence: float = 0.95,
) -> Verdict:
    """Decide between plan and policy, without costs if ``cost_value`` is ``None``; the key draws the two heads."""
    if rule == "mean":
        at_plan, value_low = jnp.mean(value.plan), jnp.mean(value.policy)
    else:
        members = draw_heads(key, len(value.plan))
        at_plan = jnp.mean(value.plan if members is None else value.plan[members])
        value_low, _ = bootstrap_interval(value.policy, confidence)
    passes = at_plan >= value_low - rounding(value_low)
    if cost_value is None:
        return Verdict(passes, value_low, None)
    if rule == "mean":
        high = jnp.mean(cost_value.policy)
    else:
        _, high = bootstrap_interval(cost_value.policy, confidence)
    passes &= jnp.mean(cost_value.plan) <= high + rounding(high)
    return Verdict(passes, value_low, high)


def adaptive(planner: Planner, *, rule: Rule = "bootstrap", confidence: float = 0.95) -> Planner:
    """Wrap a planner so that its action is executed only where the critics consider it no worse than the policy's.

    The plan's action is judged as it would be executed, exploration noise included. It is compared with a sample of the
    policy, or with its mode if ``deterministic``. The planner's state continues as if its plan had been executed, even
    where it was not.

    Adds the metrics ``value_low``, ``cost_value_high``, and the standard deviations between heads at the executed
    action, ``value_std``, ``cost_value_std`` and ``cost_std``; ``planned`` says which action was executed.

    Args:
        planner: the planner to wrap.
        rule: ``"bootstrap"``, as in the published code, or ``"mean"``, as in the paper.
        confidence: probability within the bootstrap interval.

    Raises:
        ValueError: ``rule`` is unknown, or ``confidence`` is not in (0, 1).
    """
    check_choice("rule", rule, get_args(Rule))
    check_number("confidence", confidence, low=0, high=1, open_low=True, open_high=True)

    def plan(
        model: Model, params: Params, z: Latent, state: PyTree, key: Array, *, deterministic: bool
    ) -> Decision:
        assert model.policy is not None
        plan_key, policy_key, heads_key, step_key = jax.random.split(key, 4)
        planned, state, metrics = planner.plan(model, params, z, state, plan_key, deterministic=deterministic)
        own = model.policy(params, z[None], policy_key, deterministic=deterministic)[0]
        own = head_of(model.spec).bounded(own)
        value, cost_value, cost = _at_both(model, params, z, jnp.stack([planned, own]), step_key)
        verdict = compare(value, cost_value, heads_key, rule=rule, confidence=confidence)
        action = jnp.where(verdict.planned, planned, own)
        metrics = {**metrics, "planned": metrics["planned"] * verdict.planned, "value_low": verdict.value_low}
        metrics["value_std"] = _spread(verdict, value)
        if cost_value is not None and verdict.cost_value_high is not None:
            metrics["cost_value_high"] = verdict.cost_value_high
            metrics["cost_value_std"] = _spread(verdict, cost_value)
        if cost is not None:
            metrics["cost_std"] = _spread(verdict, cost)
        return action, state, metrics

    requires = planner.requires | {"policy", "value"}
    return Planner(f"adaptive({planner.name})", requires, planner.init, plan, planner.discrete)


def _at_both(
    model: Model, params: Params, z: Latent, actions: Shaped[Array, "2 ..."], key: Array
) -> tuple[HeadValues, HeadValues | None, HeadValues | None]:
    """Values, cost values and immediate costs of both actions by all heads."""
    assert model.value is not None
    both = jnp.broadcast_to(z[None], (2, *z.shape))
    if model.heads is not None:
        heads = model.heads(params, both, actions)
        value, cost_value, cost = heads.value, heads.cost_value, heads.cost
    else:
        value, none = model.value(params, both, actions, None), jnp.zeros((0, 2))
        cost_value = none if model.cost_value is None else model.cost_value(params, both, actions, None)
        cost = model.step(params, both, actions, key).cost if model.spec.n_costs else none
    by_action = [HeadValues(*each.T) if len(each) else None for each in (cost_value, cost)]
    return HeadValues(*value.T), by_action[0], by_action[1]


def _spread(verdict: Verdict, heads: HeadValues) -> Float[Array, ""]:
    return jnp.std(jnp.where(verdict.planned, heads.plan, heads.policy))
