"""Costs within bounds, and late ones."""

from typing import Any

import numpy as np

from spi_wrappers.cost.accounts.account import COST_KEY, Account, AccountHolder, Bools, StepOutcome, StepRows
from spi_wrappers.cost.accounts.arguments import boolean, real, whole
from spi_wrappers.cost.wrapper import CostWrapper


class ClipAccount(Account):
    """Clips costs."""

    zero_at_reset = True

    def __init__(self, num_rows: int, *, low: float, high: float) -> None:
        super().__init__(num_rows)
        self.low, self.high = real("low", low), real("high", high)
        if self.low > self.high:
            raise ValueError(f"low must not be above high={self.high:g}, got {low!r}.")
        self.masks_itself = self.low <= 0.0 <= self.high

    def step(self, rows: StepRows) -> StepOutcome:
        """Clip the costs of the step."""
        return StepOutcome(info={COST_KEY: np.minimum(np.maximum(rows.cost, self.low), self.high)})


class DelayAccount(Account):
    """Holds costs back in a ring of ``delay`` steps."""

    zero_at_reset = True
    masks_itself = True

    def __init__(self, num_rows: int, *, delay: int, flush: bool) -> None:
        super().__init__(num_rows)
        self.delay = whole("delay", delay, at_least=0)
        self.flush = boolean("flush", flush)
        self._pending = np.zeros((self.delay, num_rows))
        self._next = 0

    def clear(self, rows: Bools) -> None:
        """Drop the costs that are still due."""
        self._pending = np.where(rows[None, :], 0.0, self._pending)

    def step(self, rows: StepRows) -> StepOutcome:
        """Report the oldest costs and keep the new ones."""
        if not self.delay:
            return StepOutcome()
        costs = self._pending[self._next].copy()
        self._pending[self._next] = rows.cost
        self._next = (self._next + 1) % self.delay
        if self.flush and len(rows.ended_rows):
            costs = np.where(rows.ended, costs + self._pending.sum(axis=0), costs)
        return StepOutcome(info={COST_KEY: costs})


class ClipRule(AccountHolder):
    """What both classes ``ClipCost`` share."""

    make_account = ClipAccount

    def __init__(self, env: Any, *, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__(env, low=low, high=high)


class ClipCost(ClipRule, CostWrapper):
    """Clips ``info["cost"]``; by default to [0, 1].

    Args:
        env: an environment with ``info["cost"]``.
        low: lower bound of a step's cost.
        high: upper bound.
    """


class DelayRule(AccountHolder):
    """What both classes ``DelayCost`` share."""

    make_account = DelayAccount

    def __init__(self, env: Any, delay: int, *, flush: bool = True) -> None:
        super().__init__(env, delay=delay, flush=flush)


class DelayCost(DelayRule, CostWrapper):
    """Reports each cost a number of steps late, to test how an algorithm copes.

    Args:
        env: an environment with ``info["cost"]``.
        delay: in steps; not negative.
        flush: whether an episode's last step reports all costs that are still due, so that the episode's cost
            stays the same; otherwise they are lost.
    """
