"""Episode statistics of the cost."""

from collections import deque
from typing import Any

import numpy as np

from spi_wrappers.cost.accounts.account import (
    UNCHANGED,
    AccountHolder,
    Bools,
    StepOutcome,
    StepRows,
    SummingAccount,
)
from spi_wrappers.cost.accounts.arguments import real, whole
from spi_wrappers.cost.wrapper import CostWrapper


class MonitorAccount(SummingAccount):
    """Sums costs over episodes."""

    masks_itself = True

    def __init__(self, num_rows: int, *, limit: float | None, buffer_length: int, stats_key: str) -> None:
        super().__init__(num_rows)
        self.limit = None if limit is None else real("limit", limit, at_least=0.0)
        buffer_length = whole("buffer_length", buffer_length, at_least=1)
        self.stats_key = stats_key
        self.lengths = np.zeros(num_rows, np.int64)
        self.cost_queue: deque[float] = deque(maxlen=buffer_length)
        self.violation_queue: deque[bool] = deque(maxlen=buffer_length)
        self.total_cost, self.total_steps, self.num_episodes, self.num_violations = 0.0, 0, 0, 0

    def clear(self, rows: Bools) -> None:
        """Begin new sums."""
        super().clear(rows)
        self.lengths[rows] = 0

    def step(self, rows: StepRows) -> StepOutcome:
        """Add the step to the sums, and report those of episodes that end."""
        self.costs = self.costs + rows.cost
        self.lengths = self.lengths + rows.live
        if not len(rows.ended_rows):
            return UNCHANGED
        return StepOutcome(final={self.stats_key: self._finish(rows)})

    def _finish(self, rows: StepRows) -> dict[str, Any]:
        ended = rows.ended_rows
        costs, lengths = self.costs[ended], self.lengths[ended]
        done = costs.tolist()
        self.cost_queue.extend(done)
        self.num_episodes += len(done)
        self.total_cost += sum(done)
        self.total_steps += sum(lengths.tolist())
        sums, rates = np.zeros(self.num_rows), np.zeros(self.num_rows)
        sums[ended], rates[ended] = costs, costs / np.maximum(lengths, 1)
        stats: dict[str, Any] = {"c": sums, "cost_rate": rates}
        if self.limit is not None:
            stats["violation"] = sums > self.limit
            above = [cost > self.limit for cost in done]
            self.violation_queue.extend(above)
            self.num_violations += sum(above)
        return stats


class MonitorRule(AccountHolder):
    """What all classes ``CostMonitor`` share: the constructor, and statistics over all rows."""

    make_account = MonitorAccount
    account: MonitorAccount

    def __init__(
        self, env: Any, *, limit: float | None = None, buffer_length: int = 100, stats_key: str = "episode"
    ) -> None:
        super().__init__(env, limit=limit, buffer_length=buffer_length, stats_key=stats_key)

    @property
    def cost_queue(self) -> deque[float]:
        """Costs of the last ``buffer_length`` episodes."""
        return self.account.cost_queue

    @property
    def violation_queue(self) -> deque[bool]:
        """Whether each of them exceeded ``limit``; empty without a limit."""
        return self.account.violation_queue

    @property
    def episode_count(self) -> int:
        """Number of finished episodes."""
        return self.account.num_episodes

    @property
    def violation_count(self) -> int:
        """Number of finished episodes that exceeded ``limit``."""
        return self.account.num_violations

    @property
    def cost_rate(self) -> float:
        """Cost per environment step over all finished episodes; 0 before the first."""
        return float(self.account.total_cost / max(self.account.total_steps, 1))


class CostMonitor(MonitorRule, CostWrapper):
    """Adds the cost of an episode to the info of its last step.

    ``info["episode"]`` gets ``"c"``, the undiscounted sum of ``info["cost"]``, ``"cost_rate"``, that sum per
    step, and with a limit ``"violation"``, whether the sum exceeds it. They are added to the ``"r"``, ``"l"``
    and ``"t"`` of ``gymnasium.wrappers.RecordEpisodeStatistics`` if there is one. It goes inside, because it
    refuses an existing ``info["episode"]``.

    Args:
        env: an environment with ``info["cost"]``.
        limit: an episode that costs more is a violation; not negative.
        buffer_length: number of episodes in ``cost_queue`` and ``violation_queue``.
        stats_key: the key in the infos.
    """
