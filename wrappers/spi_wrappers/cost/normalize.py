"""Costs scaled to a steady size."""

import math
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from spi_wrappers.cost.accounts.account import (
    COST_KEY,
    Account,
    Bools,
    Floats,
    InfoRows,
    RestartOutcome,
    StepOutcome,
    StepRows,
)
from spi_wrappers.cost.accounts.arguments import boolean, real
from spi_wrappers.cost.wrapper import CostWrapper


class RunningVariance:
    """Mean and variance of all samples so far, by batches (Chan et al. 1979), in float64.

    It begins as if it had seen one sample, with mean 0 and variance 1, so that it is never near 0 at first.

    Attributes:
        mean: of the samples.
        variance: of the samples, without Bessel's correction.
        count: number of samples, that first one included.
    """

    def __init__(self) -> None:
        self.mean, self.variance, self.count = 0.0, 1.0, 1

    def update(self, samples: Floats) -> None:
        """Take in samples, ``[k]``."""
        size = len(samples)
        if not size:
            return
        total, mean = self.count + size, float(samples.sum()) / size
        delta, deviations = mean - self.mean, samples - mean
        squares = (
            self.variance * self.count + float(deviations @ deviations) + delta**2 * self.count * size / total
        )
        self.mean += delta * size / total
        self.variance, self.count = squares / total, total


class NormalizeAccount(Account):
    """Divides costs by the deviation of their discounted sums; see ``NormalizeCost``."""

    def __init__(
        self, num_rows: int, *, gamma: float = 0.99, epsilon: float = 1e-8, update: bool = True
    ) -> None:
        super().__init__(num_rows)
        self.gamma = real("gamma", gamma, at_least=0.0, at_most=1.0)
        self.epsilon = real("epsilon", epsilon, above=0.0)
        self.update = boolean("update", update)
        self.sums = np.zeros(num_rows)
        self.running = RunningVariance()

    def restart(self, rows: Bools, info: InfoRows) -> RestartOutcome:
        """See ``Account``."""
        self.sums = np.where(rows, 0.0, self.sums)
        return RestartOutcome()

    def step(self, rows: StepRows) -> StepOutcome:
        """See ``Account``."""
        if self.update:
            self.sums = self.gamma * self.sums + rows.cost
            self.running.update(self.sums if rows.live.all() else self.sums[rows.live])
        scale = math.sqrt(self.running.variance + self.epsilon)
        return StepOutcome({COST_KEY: rows.cost / scale, "cost_raw": rows.cost.copy()})


class NormalizeStatistics:
    """The statistics of a ``NormalizeCost``, single or vector."""

    account: Any

    @property
    def update(self) -> bool:
        """Whether statistics still move; switch it off to evaluate."""
        moving: bool = self.account.update
        return moving

    @update.setter
    def update(self, update: bool) -> None:
        self.account.update = boolean("update", update)

    def state_dict(self) -> dict[str, float]:
        """The statistics; can be JSON."""
        running: RunningVariance = self.account.running
        return {"mean": running.mean, "variance": running.variance, "count": running.count}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Take over the statistics of another ``NormalizeCost``, for instance of the training environment.

        Raises:
            TypeError: an entry is no number.
            ValueError: an entry is missing, unknown or out of range.
        """
        if set(state) != {"mean", "variance", "count"}:
            raise ValueError(f"state must have mean, variance and count, got {sorted(map(str, state))}.")
        mean = real("mean", state["mean"])
        variance, count = (
            real("variance", state["variance"], at_least=0.0),
            real("count", state["count"], at_least=1),
        )
        running: RunningVariance = self.account.running
        running.mean, running.variance, running.count = mean, variance, int(count)


class NormalizeCost(NormalizeStatistics, CostWrapper):
    """Divides the cost by the running standard deviation of its discounted sum over the episode.

    What ``gymnasium.wrappers.NormalizeReward`` does to rewards, with sums that begin anew in every episode,
    however the last one ended. Apply it last: a limit outside of it would be one on normalized costs.
    ``info["cost_raw"]`` is the cost as it was; ``info["cost_terms"]`` stay as they are.

    Args:
        env: an environment that gives ``info["cost"]``.
        gamma: discount in [0, 1].
        epsilon: added to the variance.
        update: whether the statistics move.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range; or at a step: ``info["cost"]`` is missing, not one number, NaN
            or infinite.
    """

    make_account = NormalizeAccount

    def __init__(
        self, env: gym.Env[Any, Any], *, gamma: float = 0.99, epsilon: float = 1e-8, update: bool = True
    ) -> None:
        super().__init__(env, gamma=gamma, epsilon=epsilon, update=update)
