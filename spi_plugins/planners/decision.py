r"""The adaptive decision of SPOWL (arXiv:2506.04828): the plan is executed only where it improves on the policy.

An action of the policy stands beside the plan's, and the critics at the latent at hand decide: the plan's return must
be no lower and its cost no higher. The paper compares means of the ensembles. The code that made its results
compares with the bounds of a bootstrap interval instead, which lets more plans pass: two random heads of :math:`Q` with
the lower bound of all heads at the policy's action, the mean of :math:`Q^c` with the upper one.
"""

import functools
import itertools
import math
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped
from numpy.typing import NDArray

from spi_plugins.planners.estimate import draw_heads
from spi_plugins.planners.planner import PlanMetrics, Planner, check_parts
from spi_plugins.planners.refit import rounding
from spi_plugins.types import Params, PyTree
from spi_plugins.world_models.model import Model, ModelSpec

Rule: TypeAlias = Literal["bootstrap", "mean"]
RULES = ("bootstrap", "mean")

# Ensembles up to this size have few enough resamples to list them all: 1716.
_MAX_EXACT = 7
_RESAMPLES = 1000


class HeadValues(NamedTuple):
    """What every head of a critic says of the two actions."""

    plan: Float[Array, " K"]
    policy: Float[Array, " K"]


class Verdict(NamedTuple):
    """Whether the plan passes, and the bounds that it had to keep."""

    planned: Bool[Array, ""]
    value_low: Float[Array, ""]
    cost_value_high: Float[Array, ""] | None


def bootstrap_interval(
    heads: Float[Array, " K"], confidence: float = 0.95
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Percentile bootstrap of the mean of an ensemble.

    Up to 7 heads all resamples count, so that the bounds are exact: those that random resamples scatter
    around. For more, 1000 resamples are drawn, once and for all.

    Args:
        heads: one number of each head.
        confidence: probability within the interval.

    Returns:
        Lower and upper bound.
    """
    counts, times = _resamples(len(heads))
    means: Array = jnp.einsum("mk,k->m", counts, heads) / len(heads)
    order = jnp.argsort(means)
    ends = jnp.cumsum(jnp.asarray(times)[order])  # of each value's run in the sorted list of all resamples
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
    """How often each head is drawn, ``[M, K]``, and how many of the resamples are that one, ``[M]``."""
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
    """Decide between plan and policy.

    Args:
        value: of both actions.
        cost_value: of both actions; ``None`` without a critic of costs, which then have no say.
        key: of the two heads.
        rule: ``"bootstrap"`` or ``"mean"``.
        confidence: of the bootstrap interval.
    """
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
    """Wrap a planner so that its action is executed only where the critics hold it for no worse.

    What is tested is the action as it would be executed, exploration noise included. Beside it stands a
    sample of the policy, or its mode if ``deterministic``. The planner's state goes on as if its plan had
    been executed, also where it was not.

    It adds the metrics ``value_low``, ``cost_value_high``, and the deviations between heads at the executed
    action, ``value_std``, ``cost_value_std`` and ``cost_std``; ``planned`` tells which action it was.

    Args:
        planner: any.
        rule: ``"bootstrap"``, as in the published code, or ``"mean"``, as in the paper.
        confidence: of the bootstrap interval.

    Raises:
        ValueError: there is no such rule, or the confidence is not in (0, 1).
    """
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(map(repr, RULES))}, got {rule!r}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), got {confidence!r}")

    def init(spec: ModelSpec) -> PyTree:
        check_parts(wrapped, spec)
        return planner.init(spec)

    def plan(
        model: Model,
        params: Params,
        z: Shaped[Array, "*Z"],
        state: PyTree,
        key: Array,
        *,
        deterministic: bool,
    ) -> tuple[Float[Array, " A"], PyTree, PlanMetrics]:
        check_parts(wrapped, model.spec)
        assert model.policy is not None
        plan_key, policy_key, heads_key, step_key = jax.random.split(key, 4)
        planned, state, metrics = planner.plan(model, params, z, state, plan_key, deterministic=deterministic)
        own = jnp.clip(model.policy(params, z[None], policy_key, deterministic=deterministic)[0], -1.0, 1.0)
        value, cost_value = _at_both(model, params, z, jnp.stack([planned, own]))
        verdict = compare(value, cost_value, heads_key, rule=rule, confidence=confidence)
        action = jnp.where(verdict.planned, planned, own)
        metrics = {**metrics, "planned": metrics["planned"] * verdict.planned, "value_low": verdict.value_low}
        metrics["value_std"] = _spread(verdict, value)
        if cost_value is not None and verdict.cost_value_high is not None:
            metrics["cost_value_high"] = verdict.cost_value_high
            metrics["cost_value_std"] = _spread(verdict, cost_value)
        if model.spec.n_costs:
            metrics["cost_std"] = jnp.std(model.step(params, z[None], action[None], step_key).cost)
        return action, state, metrics

    wrapped = Planner(f"adaptive({planner.name})", planner.requires | {"policy", "value"}, init, plan)
    return wrapped


def _at_both(
    model: Model, params: Params, z: Shaped[Array, "*Z"], actions: Float[Array, "2 A"]
) -> tuple[HeadValues, HeadValues | None]:
    """All heads of both critics at both actions."""
    assert model.value is not None
    both = jnp.broadcast_to(z[None], (2, *z.shape))
    value = HeadValues(*model.value(params, both, actions, None).T)
    if model.cost_value is None or not model.spec.n_cost_values:
        return value, None
    return value, HeadValues(*model.cost_value(params, both, actions, None).T)


def _spread(verdict: Verdict, heads: HeadValues) -> Float[Array, ""]:
    return jnp.std(jnp.where(verdict.planned, heads.plan, heads.policy))
