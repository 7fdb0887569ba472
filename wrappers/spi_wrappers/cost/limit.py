"""Ending an episode because of its cost."""

from typing import Any, Literal

import numpy as np

from spi_wrappers.cost.accounts.account import Account, AccountHolder, StepOutcome, StepRows, SummingAccount
from spi_wrappers.cost.accounts.arguments import real
from spi_wrappers.cost.wrapper import CostWrapper

Ending = Literal["terminate", "truncate"]


class LimitAccount(SummingAccount):
    """Ends episodes whose cumulative cost exceeds a limit."""

    may_end = True

    def __init__(self, num_rows: int, *, limit: float, mode: Ending, reward: float | None) -> None:
        super().__init__(num_rows)
        self.limit = real("limit", limit, at_least=0.0)
        if mode not in ("terminate", "truncate"):
            raise ValueError(f"mode must be 'terminate' or 'truncate', got {mode!r}.")
        self.mode = mode
        self.reward = None if reward is None else real("reward", reward)

    def step(self, rows: StepRows) -> StepOutcome:
        """End the episodes whose sum is now above the limit."""
        self.costs = self.costs + rows.cost
        above = (self.costs > self.limit) & rows.live
        if not np.count_nonzero(above):
            return StepOutcome()
        reward = None if self.reward is None else np.where(above, self.reward, rows.reward)
        if self.mode == "terminate":
            return StepOutcome(terminated=rows.terminated | above, reward=reward)
        return StepOutcome(truncated=rows.truncated | above, reward=reward)


class CostToTerminationAccount(Account):
    """Terminates episodes at one step's cost."""

    may_end = True

    def __init__(self, num_rows: int, *, threshold: float) -> None:
        super().__init__(num_rows)
        self.threshold = real("threshold", threshold, at_least=0.0)

    def step(self, rows: StepRows) -> StepOutcome:
        """Terminate where the step's cost is above the threshold."""
        above = (rows.cost > self.threshold) & rows.live
        return StepOutcome(terminated=rows.terminated | above) if np.count_nonzero(above) else StepOutcome()


class LimitRule(AccountHolder):
    """What both classes ``CostLimit`` share."""

    make_account = LimitAccount

    def __init__(
        self, env: Any, limit: float, *, mode: Ending = "terminate", reward: float | None = None
    ) -> None:
        super().__init__(env, limit=limit, mode=mode, reward=reward)


class CostLimit(LimitRule, CostWrapper):
    """Ends an episode in the step that brings its cumulative cost above a limit.

    A cost equal to the limit is allowed. The observation of that step is the true final one.

    Args:
        env: an environment with ``info["cost"]``.
        limit: of the undiscounted cost of an episode; not negative.
        mode: ``"terminate"``: learners see no future beyond it; ``"truncate"``: they bootstrap.
        reward: replaces the reward of that step unless ``None``.
    """


class TerminationRule(AccountHolder):
    """What both classes ``CostToTermination`` share."""

    make_account = CostToTerminationAccount

    def __init__(self, env: Any, *, threshold: float = 0.0) -> None:
        super().__init__(env, threshold=threshold)


class CostToTermination(TerminationRule, CostWrapper):
    """Terminates an episode at the first step whose cost exceeds a threshold: violations become dead ends.

    Args:
        env: an environment with ``info["cost"]``.
        threshold: of the cost of one step; not negative.
    """
