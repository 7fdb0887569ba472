"""Costs within bounds, and late ones."""

from typing import Any

import gymnasium as gym
import numpy as np

from spi_wrappers.cost.accounts.account import (
    COST_KEY,
    Account,
    Bools,
    InfoRows,
    RestartOutcome,
    StepOutcome,
    StepRows,
    zero_cost,
)
from spi_wrappers.cost.accounts.arguments import boolean, real, whole
from spi_wrappers.cost.wrapper import CostWrapper


class ClipAccount(Account):
    """Clips costs; see ``ClipCost``."""

    def __init__(self, num_rows: int, *, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__(num_rows)
        self.low, self.high = real("low", low), real("high", high)
        if self.low > self.high:
            raise ValueError(f"low must not be above high={self.high:g}, got {low!r}.")
        self.masks_itself = self.low <= 0.0 <= self.high

    def restart(self, rows: Bools, info: InfoRows) -> RestartOutcome:
        """See ``Account``."""
        return zero_cost(self.num_rows)

    def step(self, rows: StepRows) -> StepOutcome:
        """See ``Account``."""
        return StepOutcome(info={COST_KEY: np.minimum(np.maximum(rows.cost, self.low), self.high)})


class DelayAccount(Account):
    """Holds costs back; see ``DelayCost``."""

    masks_itself = True

    def __init__(self, num_rows: int, *, delay: int, flush: bool = True) -> None:
        super().__init__(num_rows)
        self.delay = whole("delay", delay, at_least=0)
        self.flush = boolean("flush", flush)
        self._pending = np.zeros((self.delay, num_rows))
        self._next = 0

    def restart(self, rows: Bools, info: InfoRows) -> RestartOutcome:
        """See ``Account``."""
        self._pending = np.where(rows[None, :], 0.0, self._pending)
        return zero_cost(self.num_rows)

    def step(self, rows: StepRows) -> StepOutcome:
        """See ``Account``."""
        if not self.delay:
            return StepOutcome()
        costs = self._pending[self._next].copy()
        self._pending[self._next] = rows.cost
        self._next = (self._next + 1) % self.delay
        if self.flush and len(rows.ended_rows):
            costs = np.where(rows.ended, costs + self._pending.sum(axis=0), costs)
        return StepOutcome(info={COST_KEY: costs})


class ClipCost(CostWrapper):
    """Clips ``info["cost"]``; by default to [0, 1].

    Args:
        env: an environment that gives ``info["cost"]``.
        low: the least cost of a step.
        high: the greatest.

    Raises:
        TypeError: a bound is no number.
        ValueError: ``low`` is above ``high``; or at a step, the cost is missing or no finite number.
    """

    make_account = ClipAccount

    def __init__(self, env: gym.Env[Any, Any], *, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__(env, low=low, high=high)


class DelayCost(CostWrapper):
    """Reports each cost a number of steps late, to see what an algorithm makes of it.

    Args:
        env: an environment that gives ``info["cost"]``.
        delay: in steps; not negative.
        flush: whether costs that are still due at an episode's end come with its last step, so that the
            episode's cost stays the same; they are lost otherwise.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: ``delay`` is negative; or at a step, the cost is missing or no finite number.
    """

    make_account = DelayAccount

    def __init__(self, env: gym.Env[Any, Any], delay: int, *, flush: bool = True) -> None:
        super().__init__(env, delay=delay, flush=flush)
