"""Ending an episode because of its cost."""

from typing import Any, Literal

import gymnasium as gym
import numpy as np

from spi_wrappers.cost.accounts.account import Account, Bools, InfoRows, RestartOutcome, StepOutcome, StepRows
from spi_wrappers.cost.accounts.arguments import real
from spi_wrappers.cost.wrapper import CostWrapper

Ending = Literal["terminate", "truncate"]


class LimitAccount(Account):
    """Ends episodes whose cumulative cost is above a limit; see ``CostLimit``."""

    may_end = True

    def __init__(
        self, num_rows: int, *, limit: float, mode: Ending = "terminate", reward: float | None = None
    ) -> None:
        super().__init__(num_rows)
        self.limit = real("limit", limit, at_least=0.0)
        if mode not in ("terminate", "truncate"):
            raise ValueError(f"mode must be 'terminate' or 'truncate', got {mode!r}.")
        self.mode = mode
        self.reward = None if reward is None else real("reward", reward)
        self.costs = np.zeros(num_rows)

    def restart(self, rows: Bools, info: InfoRows) -> RestartOutcome:
        """See ``Account``."""
        self.costs = np.where(rows, 0.0, self.costs)
        return RestartOutcome()

    def step(self, rows: StepRows) -> StepOutcome:
        """See ``Account``."""
        self.costs = self.costs + rows.cost
        above = (self.costs > self.limit) & rows.live
        if not np.count_nonzero(above):
            return StepOutcome()
        return ends(rows, above, self.mode, self.reward)


class CostToTerminationAccount(Account):
    """Ends episodes at one step's cost; see ``CostToTermination``."""

    may_end = True

    def __init__(self, num_rows: int, *, threshold: float = 0.0) -> None:
        super().__init__(num_rows)
        self.threshold = real("threshold", threshold, at_least=0.0)

    def step(self, rows: StepRows) -> StepOutcome:
        """See ``Account``."""
        above = (rows.cost > self.threshold) & rows.live
        return ends(rows, above, "terminate", None) if np.count_nonzero(above) else StepOutcome()


def ends(rows: StepRows, where: Bools, mode: Ending, reward: float | None) -> StepOutcome:
    """The outcome of a step that ends episodes."""
    terminated, truncated = rows.terminated, rows.truncated
    if mode == "terminate":
        terminated = terminated | where
    else:
        truncated = truncated | where
    rewards = None if reward is None else np.where(where, reward, rows.reward)
    return StepOutcome(terminated=terminated, truncated=truncated, reward=rewards)


class CostLimit(CostWrapper):
    """Ends an episode in the step that brings its cumulative cost above a limit.

    A cost that equals the limit is within it. The observation of that step is the true final one.

    Args:
        env: an environment that gives ``info["cost"]``.
        limit: of the undiscounted cost of an episode; not negative.
        mode: ``"terminate"``, for a learner there is no future after it, or ``"truncate"``, it bootstraps.
        reward: what replaces the reward of that step, if anything.

    Raises:
        TypeError: an argument is no number.
        ValueError: an argument is out of range; or at a step, the cost is missing or no finite number.
    """

    make_account = LimitAccount

    def __init__(
        self, env: gym.Env[Any, Any], limit: float, *, mode: Ending = "terminate", reward: float | None = None
    ) -> None:
        super().__init__(env, limit=limit, mode=mode, reward=reward)


class CostToTermination(CostWrapper):
    """Terminates an episode at the first step whose cost is above a threshold: violations become dead ends.

    Args:
        env: an environment that gives ``info["cost"]``.
        threshold: of the cost of one step; not negative.

    Raises:
        TypeError: ``threshold`` is no number.
        ValueError: it is negative; or at a step, the cost is missing or no finite number.
    """

    make_account = CostToTerminationAccount

    def __init__(self, env: gym.Env[Any, Any], *, threshold: float = 0.0) -> None:
        super().__init__(env, threshold=threshold)
