"""Episode statistics of the cost of a vector environment."""

from typing import Any

from gymnasium.vector import VectorEnv

from spi_wrappers.cost.monitor import MonitorAccount, MonitorStatistics
from spi_wrappers.cost.vector_wrapper import CostVectorWrapper


class CostMonitor(MonitorStatistics, CostVectorWrapper):
    """``spi_wrappers.CostMonitor`` for vector environments; the queues are of all rows together.

    Beside the ``infos["episode"]`` of ``gymnasium.wrappers.vector.RecordEpisodeStatistics``, which goes
    inside, it writes there as well.
    """

    make_account = MonitorAccount

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        *,
        limit: float | None = None,
        buffer_length: int = 100,
        stats_key: str = "episode",
    ) -> None:
        super().__init__(env, limit=limit, buffer_length=buffer_length, stats_key=stats_key)
