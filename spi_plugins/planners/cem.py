"""The cross-entropy method: a Gaussian refitted to the best sequences, all with the same weight.

Rubinstein (1999), as used for model-predictive control by Chua et al. (arXiv:1805.12114). No policy, no costs.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp

from spi_plugins.hyperparameters import configured
from spi_plugins.planners.config import GaussianConfig, SearchConfig
from spi_plugins.planners.estimate import Estimate
from spi_plugins.planners.planner import Planner
from spi_plugins.planners.refit import Selection, highest
from spi_plugins.planners.search import Recipe, make_search_planner


@dataclasses.dataclass(frozen=True, kw_only=True)
class CEMConfig(GaussianConfig):
    """Settings of ``cem``."""


def select_equal(estimate: Estimate, num_elites: int) -> Selection:
    """Select the highest returns, with equal weights."""
    return Selection(highest(estimate.value, num_elites), jnp.zeros_like(estimate.value), {})


def make_cem(**settings: Any) -> Planner:
    """Make the cross-entropy method, which executes the first action of the mean, from fields of ``CEMConfig``.

    Raises:
        ValueError: a setting is unknown or out of range.
    """
    config = configured(CEMConfig, settings)
    recipe = Recipe(
        name="cem",
        config=SearchConfig(num_prior=0, **dataclasses.asdict(config)),  # no sequences from a policy
        select=lambda estimate: select_equal(estimate, config.num_elites),
        executes="mean",
    )
    return make_search_planner(recipe)
