"""Costs of a vector environment within bounds, and late ones."""

from typing import Any

from gymnasium.vector import VectorEnv

from spi_wrappers.cost.clip import ClipAccount, DelayAccount
from spi_wrappers.cost.vector_wrapper import CostVectorWrapper


class ClipCost(CostVectorWrapper):
    """``spi_wrappers.ClipCost`` for vector environments."""

    make_account = ClipAccount

    def __init__(self, env: VectorEnv[Any, Any, Any], *, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__(env, low=low, high=high)


class DelayCost(CostVectorWrapper):
    """``spi_wrappers.DelayCost`` for vector environments."""

    make_account = DelayAccount

    def __init__(self, env: VectorEnv[Any, Any, Any], delay: int, *, flush: bool = True) -> None:
        super().__init__(env, delay=delay, flush=flush)
