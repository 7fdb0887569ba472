"""The cross-entropy method: a Gaussian, refitted to the best sequences, which all weigh the same.

Rubinstein (1999), as used for model-predictive control by Chua et al. (arXiv:1805.12114). No policy, no costs.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp

from spi_plugins.planners.config import SearchConfig, configured
from spi_plugins.planners.estimate import Estimate
from spi_plugins.planners.planner import Planner
from spi_plugins.planners.refit import Selection, highest
from spi_plugins.planners.search import Recipe, make_search_planner


@dataclasses.dataclass(frozen=True, kw_only=True)
class CEMConfig:
    """Settings of ``cem``.

    Attributes:
        horizon: steps to look ahead; ``None`` for the horizon that the model was trained with.
        num_samples: action sequences in an iteration.
        num_elites: how many of the best make the next mean.
        iterations: how often the distribution is refitted in a decision.
        momentum: share of the old mean in the new one.
        min_std: least standard deviation of an entry, in units of the action.
        max_std: largest one, and the first of every decision.
    """

    horizon: int | None = None
    num_samples: int = 512
    num_elites: int = 64
    iterations: int = 6
    momentum: float = 0.0
    min_std: float = 0.05
    max_std: float = 2.0

    def __post_init__(self) -> None:
        """Check every number.

        Raises:
            ValueError: one is out of range.
        """
        self.search()

    def search(self) -> SearchConfig:
        """The same for the shared loop, without sequences of a policy.

        Raises:
            ValueError: a number is out of range.
        """
        return SearchConfig(num_prior=0, **dataclasses.asdict(self))


def select_equal(estimate: Estimate, num_elites: int) -> Selection:
    """The highest returns, each of the same weight."""
    return Selection(highest(estimate.value, num_elites), jnp.zeros_like(estimate.value), {})


def make_cem(**settings: Any) -> Planner:
    """Make the cross-entropy method. It executes the mean's first action.

    Args:
        **settings: fields of ``CEMConfig``.

    Raises:
        ValueError: a setting is unknown or out of range.
    """
    config = configured(CEMConfig, settings)
    return make_search_planner(
        Recipe(
            name="cem",
            requires=frozenset(),
            config=config.search(),
            select=lambda estimate: select_equal(estimate, config.num_elites),
            with_cost=False,
            executes="mean",
        )
    )
