"""Costs of a vector environment scaled to a steady size."""

from typing import Any

from gymnasium.vector import VectorEnv

from spi_wrappers.cost.normalize import NormalizeAccount, NormalizeStatistics
from spi_wrappers.cost.vector_wrapper import CostVectorWrapper


class NormalizeCost(NormalizeStatistics, CostVectorWrapper):
    """``spi_wrappers.NormalizeCost`` for vector environments: one statistic of all rows.

    A vector environment of wrapped single ones has one for each of them, so that the two agree while
    statistics stand still (``update=False``), and with one row.
    """

    make_account = NormalizeAccount

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        *,
        gamma: float = 0.99,
        epsilon: float = 1e-8,
        update: bool = True,
    ) -> None:
        super().__init__(env, gamma=gamma, epsilon=epsilon, update=update)
