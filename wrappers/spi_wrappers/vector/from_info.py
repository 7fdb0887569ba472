"""Costs of a vector environment out of something that its infos tell already."""

from typing import Any

from gymnasium.vector import VectorEnv

from spi_wrappers.cost.from_info import InfoAccount
from spi_wrappers.cost.vector_wrapper import CostVectorWrapper


class CostFromInfo(CostVectorWrapper):
    """``spi_wrappers.CostFromInfo`` for vector environments."""

    make_account = InfoAccount

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        key: str,
        *,
        scale: float = 1.0,
        op: str | None = None,
        threshold: float | None = None,
    ) -> None:
        super().__init__(env, key=key, scale=scale, op=op, threshold=threshold)
