"""Model-predictive path integral control as in TD-MPC2, which maximizes the expected return and ignores costs.

Hansen et al., "TD-MPC2: Scalable, Robust World Models for Continuous Control" (arXiv:2310.16828), section 3.2;
the method "unsafe" of SPOWL's code.
"""

import dataclasses
from typing import Any

from spi_plugins.hyperparameters import configured
from spi_plugins.planners.config import SearchConfig
from spi_plugins.planners.estimate import Estimate
from spi_plugins.planners.planner import Planner
from spi_plugins.planners.refit import Selection, highest
from spi_plugins.planners.search import Recipe, make_search_planner


@dataclasses.dataclass(frozen=True, kw_only=True)
class MPPIConfig(SearchConfig):
    """Settings of ``mppi``."""


def select_best(estimate: Estimate, num_elites: int) -> Selection:
    """Select the highest returns, weighted by return."""
    return Selection(highest(estimate.value, num_elites), estimate.value, {})


def make_mppi(**settings: Any) -> Planner:
    """Make the planner of TD-MPC2 from fields of ``MPPIConfig``.

    Raises:
        ValueError: a setting is unknown or out of range.
    """
    config = configured(MPPIConfig, settings)
    return make_search_planner(
        Recipe("mppi", config, lambda estimate: select_best(estimate, config.num_elites))
    )
