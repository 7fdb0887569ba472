r"""SPOWL's planner: elites are sequences that are no worse than the policy in return and in cost.

"SPOWL: Safe Planning and Policy Optimization via World Model Learning" (arXiv:2506.04828), Algorithm 1. The
means over the policy's sequences are the thresholds (Eq. 12),

.. math::
    d^R = \mathbb{E}_{\pi}[J], \qquad d^c = \mathbb{E}_{\pi}[J^c],

and only sequences with :math:`J \ge d^R` and :math:`J^c \le d^c` may become elites. If there are none, the policy's
sequences become the elites.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp

from spi_plugins.hyperparameters import configured, hyperparameter
from spi_plugins.planners.config import SearchConfig
from spi_plugins.planners.estimate import CostAggregation, Estimate
from spi_plugins.planners.planner import Planner
from spi_plugins.planners.refit import Selection, highest, rounding
from spi_plugins.planners.search import Recipe, make_search_planner


@dataclasses.dataclass(frozen=True, kw_only=True)
class SafeImprovementConfig(SearchConfig):
    """Settings of ``safe_improvement``."""

    num_prior: int = hyperparameter(
        24,
        "Sequences sampled from the model's policy, once a decision; their means are the thresholds",
        low=1,
    )
    restrict_elites: bool = hyperparameter(
        True, "Fit to at most `num_elites` of the improvements, the best by return; `False` fits to all"
    )
    cost_aggregation: CostAggregation = hyperparameter(
        "mean",
        'How the heads of the immediate cost are reduced to one: `"mean"`, as in the code that made the paper\'s '
        'results, or `"max"`, as in its text',
    )


def select_improving(estimate: Estimate, config: SafeImprovementConfig) -> Selection:
    """SelectElites of Algorithm 1: select improvements, or the policy's sequences, the first, if there are none."""
    value, cost, _ = estimate
    # Eq. 12: what the policy's own sequences reach.
    value_threshold = jnp.mean(value[: config.num_prior])
    cost_threshold = jnp.mean(cost[: config.num_prior])
    improves = value >= value_threshold - rounding(value_threshold)
    improves &= cost <= cost_threshold + rounding(cost_threshold)
    if config.restrict_elites:
        # As in the published code, ties go to the last.
        ranked = jnp.where(improves, value, -jnp.inf)
        improves &= highest(ranked, config.num_elites, ties_to_the_last=True)
    n_feasible = jnp.sum(improves)
    is_prior = jnp.arange(len(value)) < config.num_prior
    metrics = {
        "value_threshold": value_threshold,
        "cost_threshold": cost_threshold,
        "n_feasible": n_feasible.astype(jnp.float32),
        "no_improvement": (n_feasible == 0).astype(jnp.float32),
    }
    return Selection(jnp.where(n_feasible == 0, is_prior, improves), value, metrics)


def make_safe_improvement(**settings: Any) -> Planner:
    """Make SPOWL's planner from fields of ``SafeImprovementConfig``.

    It lacks the decision between plan and policy, which is ``planners.decision.adaptive``.

    Raises:
        ValueError: a setting is unknown or out of range.
    """
    config = configured(SafeImprovementConfig, settings)
    recipe = Recipe(
        name="safe_improvement",
        config=config,
        select=lambda estimate: select_improving(estimate, config),
        with_cost=True,
        cost_aggregation=config.cost_aggregation,
    )
    return make_search_planner(recipe)
