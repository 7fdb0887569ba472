"""Ending episodes of a vector environment because of their cost."""

from typing import Any

from gymnasium.vector import VectorEnv

from spi_wrappers.cost.limit import CostToTerminationAccount, Ending, LimitAccount
from spi_wrappers.cost.vector_wrapper import CostVectorWrapper


class CostLimit(CostVectorWrapper):
    """``spi_wrappers.CostLimit`` for vector environments.

    Where the environment resets rows by itself (``NEXT_STEP``, ``SAME_STEP``) it must honour
    ``reset(options={"reset_mask": ...})``, as ``SyncVectorEnv``, ``AsyncVectorEnv`` and
    ``FunctionalVectorEnv`` do. Under ``NEXT_STEP`` all but ``SyncVectorEnv`` make one more transition in a row
    that was ended, before its reset; nobody sees it, but it may use up random numbers.

    Raises:
        ValueError: also if the environment is not known to honour the mask.
    """

    make_account = LimitAccount

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        limit: float,
        *,
        mode: Ending = "terminate",
        reward: float | None = None,
    ) -> None:
        super().__init__(env, limit=limit, mode=mode, reward=reward)


class CostToTermination(CostVectorWrapper):
    """``spi_wrappers.CostToTermination`` for vector environments; it resets rows as ``CostLimit`` does."""

    make_account = CostToTerminationAccount

    def __init__(self, env: VectorEnv[Any, Any, Any], *, threshold: float = 0.0) -> None:
        super().__init__(env, threshold=threshold)
