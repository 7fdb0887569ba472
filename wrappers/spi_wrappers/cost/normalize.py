"""Costs divided by their running scale."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.wrappers.utils import RunningMeanStd

from spi_wrappers.cost.accounts.account import COST_KEY, AccountHolder, StepOutcome, StepRows, SummingAccount
from spi_wrappers.cost.accounts.arguments import boolean, real
from spi_wrappers.cost.wrapper import CostWrapper


class NormalizeAccount(SummingAccount):
    """Divides costs by the standard deviation of their discounted sums."""

    def __init__(self, num_rows: int, *, gamma: float, epsilon: float, update: bool) -> None:
        super().__init__(num_rows)
        self.gamma = real("gamma", gamma, at_least=0.0, at_most=1.0)
        self.epsilon = real("epsilon", epsilon, above=0.0)
        self.update = boolean("update", update)
        # As if it had seen one sample with variance 1, so that the variance is not near 0 at first.
        self.running: Any = RunningMeanStd(epsilon=1.0)  # type: ignore[no-untyped-call]

    def step(self, rows: StepRows) -> StepOutcome:
        """Update the statistics and scale the costs."""
        if self.update:
            self.costs = self.gamma * self.costs + rows.cost
            if len(seen := self.costs if rows.live.all() else self.costs[rows.live]):
                self.running.update(seen)
        scale = math.sqrt(self.running.var + self.epsilon)
        return StepOutcome({COST_KEY: rows.cost / scale, "cost_raw": rows.cost.copy()})


class NormalizeRule(AccountHolder):
    """What both classes ``NormalizeCost`` share: the constructor, and their statistics."""

    make_account = NormalizeAccount
    account: NormalizeAccount

    def __init__(self, env: Any, *, gamma: float = 0.99, epsilon: float = 1e-8, update: bool = True) -> None:
        super().__init__(env, gamma=gamma, epsilon=epsilon, update=update)

    @property
    def update(self) -> bool:
        """Whether the statistics are updated; switch it off for evaluation."""
        return self.account.update

    @update.setter
    def update(self, update: bool) -> None:
        self.account.update = boolean("update", update)

    def state_dict(self) -> dict[str, float]:
        """The statistics, ready for JSON."""
        running = self.account.running
        return {"mean": float(running.mean), "variance": float(running.var), "count": int(running.count)}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Take over the statistics of another ``NormalizeCost``, such as the training environment's.

        Raises:
            ValueError: an entry is missing, unknown or out of range.
        """
        if set(state) != {"mean", "variance", "count"}:
            raise ValueError(f"state must have mean, variance and count, got {sorted(map(str, state))}.")
        mean = np.array(real("mean", state["mean"]))
        variance = np.array(real("variance", state["variance"], at_least=0.0))
        count = int(real("count", state["count"], at_least=1))
        running = self.account.running
        running.mean, running.var, running.count = mean, variance, count


class NormalizeCost(NormalizeRule, CostWrapper):
    """Divides the cost by the running standard deviation of its discounted sum over the episode.

    Like ``gymnasium.wrappers.NormalizeReward``, but with sums that restart in every episode, however the last one
    ended. Apply it last: a limit outside of it would apply to normalized costs. ``info["cost_raw"]`` is the
    original cost; ``info["cost_terms"]`` are unchanged.

    Args:
        env: an environment with ``info["cost"]``.
        gamma: discount in [0, 1].
        epsilon: added to the variance.
        update: whether the statistics are updated.

    Raises:
        ValueError: at a step, ``info["cost"]`` is missing, not one number, NaN or infinite.
    """
