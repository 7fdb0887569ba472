"""The constrained cross-entropy method: the best sequences, by return, among those below a fixed cost.

Wen and Topcu, "Constrained Cross-Entropy Method for Safe Reinforcement Learning" (2018), in the form of SPOWL's
method "threshold", which follows SafeDreamer (arXiv:2307.07176). While too few sequences are below the threshold, those
with the lowest cost are selected.
"""

import dataclasses
from typing import Any, Literal

import jax.numpy as jnp

from spi_plugins.hyperparameters import configured, hyperparameter
from spi_plugins.planners.config import SearchConfig
from spi_plugins.planners.estimate import CostAggregation, Estimate
from spi_plugins.planners.planner import Planner
from spi_plugins.planners.refit import Selection, highest
from spi_plugins.planners.search import Recipe, make_search_planner


@dataclasses.dataclass(frozen=True, kw_only=True)
class CCEMConfig(SearchConfig):
    """Settings of ``ccem``."""

    threshold: float = hyperparameter(0.1, "Sequences that cost less are safe")
    cost: Literal["local", "global"] = hyperparameter(
        "local",
        'What is compared with it: `"local"`, the undiscounted cost within the horizon, at each step of the head that '
        'expects the most; `"global"`, the discounted cost with the critic after the horizon',
    )
    cost_aggregation: CostAggregation = hyperparameter(
        "mean", "How the heads of the immediate cost are reduced to one in the global estimate"
    )


def select_below(estimate: Estimate, config: CCEMConfig) -> Selection:
    """Select the highest returns among the safe sequences, or the lowest costs if too few are safe."""
    cost = estimate.local_cost if config.cost == "local" else estimate.cost_value
    safe = cost < config.threshold
    n_safe = jnp.sum(safe)
    enough = n_safe >= config.num_elites
    score = jnp.where(enough, estimate.value, -cost)
    mask = highest(jnp.where(enough & ~safe, -jnp.inf, score), config.num_elites)
    metrics = {
        "n_feasible": n_safe.astype(jnp.float32),
        "cost_threshold": jnp.float32(config.threshold),
        "no_improvement": 1.0 - enough.astype(jnp.float32),
    }
    return Selection(mask, score, metrics)


def make_ccem(**settings: Any) -> Planner:
    """Make the constrained cross-entropy method from fields of ``CCEMConfig``.

    Raises:
        ValueError: a setting is unknown or out of range.
    """
    config = configured(CCEMConfig, settings)
    recipe = Recipe("ccem", config, lambda estimate: select_below(estimate, config))
    return make_search_planner(recipe._replace(with_cost=True, cost_aggregation=config.cost_aggregation))
