"""Functional environments under a cost constraint: what the wrappers for any ``VecEnv`` do, inside ``jit``."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spi_plugins.algorithms.vec_envs import FunctionalVecEnv
from spi_plugins.algorithms.vec_envs.vector_infos import Infos
from spi_plugins.envs.autoreset import VectorStep
from spi_plugins.envs.base import FunctionalEnv
from spi_plugins.envs.constrained import budgeted, limited
from spi_wrappers.cost.accounts.features import extended_space
from spi_wrappers.cost.saute import SauteAccount


class ConstrainedVecEnv(FunctionalVecEnv):
    """Copies of an environment that is made of another's.

    Episode returns are those of the environment's own rewards, unless the constraint ends episodes.

    Attributes:
        source: the other one.
    """

    def __init__(self, source: FunctionalVecEnv, functional: FunctionalEnv) -> None:
        super().__init__(functional, source.num_envs, source.first_seed)
        self.source = source

    def _report(self, out: VectorStep, ended: NDArray[np.intp], infos: Infos) -> None:
        super()._report(out, ended, infos)
        for i in ended:
            episode = infos[i]["episode"]
            episode["cost_rate"] = episode["c"] / episode["l"]


class BudgetedVecEnv(ConstrainedVecEnv):
    """``VecSauteBudget`` around ``VecCostMonitor``, for functional environments."""

    def __init__(self, source: FunctionalVecEnv, **how: float) -> None:
        feature: Any = SauteAccount(1, **how).feature
        space = extended_space(source.observation_space, feature, "SauteBudget")
        super().__init__(source, budgeted(source.functional, **how))
        self.observation_space = space
        self.params = source.params


class LimitedVecEnv(ConstrainedVecEnv):
    """``VecCostMonitor`` around ``CostLimit``, for functional environments."""

    def __init__(self, source: FunctionalVecEnv, *, limit: float, reward: float | None) -> None:
        super().__init__(source, limited(source.functional, limit=limit, reward=reward))
        self.params = source.params


def unconstrained(env: Any) -> Any:
    """The environment that a ``ConstrainedVecEnv`` is made of; any other as it is."""
    return env.source if isinstance(env, ConstrainedVecEnv) else env
