"""Several costs of a vector environment at once."""

from collections.abc import Mapping
from typing import Any, Literal

from gymnasium.vector import VectorEnv

from spi_wrappers.cost.multi import MultiAccount, Term
from spi_wrappers.cost.vector_wrapper import CostVectorWrapper


class MultiCost(CostVectorWrapper):
    """``spi_wrappers.MultiCost`` for vector environments."""

    make_account = MultiAccount

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        terms: Mapping[str, Term] | None = None,
        *,
        limits: Mapping[str, float] | None = None,
        combine: Literal["sum", "worst"] = "sum",
    ) -> None:
        super().__init__(env, terms=terms, limits=limits, combine=combine)

    @property
    def combine(self) -> str:
        """How the cost is made of its terms."""
        combine: str = self.account.combine  # type: ignore[attr-defined]
        return combine
