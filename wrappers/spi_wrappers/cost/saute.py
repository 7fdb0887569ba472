"""Sauté RL: the budget that is left becomes part of the observation."""

from typing import Any

import gymnasium as gym
import numpy as np

from spi_wrappers.cost.accounts.account import (
    Account,
    Bools,
    Feature,
    InfoRows,
    RestartOutcome,
    StepOutcome,
    StepRows,
)
from spi_wrappers.cost.accounts.arguments import real
from spi_wrappers.cost.shaping import raw_reward
from spi_wrappers.cost.wrapper import CostWrapper

# What is left after many steps with gamma < 1 can leave float32's range.
_LARGEST = float(np.finfo(np.float32).max)


class SauteAccount(Account):
    """Spends a budget; see ``SauteBudget``."""

    def __init__(
        self, num_rows: int, *, budget: float, gamma: float = 1.0, unsafe_reward: float = -1.0
    ) -> None:
        super().__init__(num_rows)
        self.budget = real("budget", budget, above=0.0)
        self.gamma = real("gamma", gamma, above=0.0, at_most=1.0)
        self.unsafe_reward = real("unsafe_reward", unsafe_reward)
        self.left = np.ones(num_rows)
        highest = 1.0 if self.gamma == 1 else _LARGEST
        self.feature = Feature("budget", np.array([-_LARGEST]), np.array([highest]))

    def restart(self, rows: Bools, info: InfoRows) -> RestartOutcome:
        """See ``Account``."""
        self.left = np.where(rows, 1.0, self.left)
        return RestartOutcome({"budget": self.left}, self.left[:, None])

    def step(self, rows: StepRows) -> StepOutcome:
        """See ``Account``."""
        if rows.cost.min() < 0:
            raise ValueError(
                f"SauteBudget needs costs that are not negative, got {rows.cost[rows.cost < 0].tolist()}: "
                "spending must not refill the budget."
            )
        left = self.left - rows.cost / self.budget
        if self.gamma < 1:  # rows that are not live have just begun anew, and cost nothing
            left = np.where(rows.live, np.clip(left / self.gamma, -_LARGEST, _LARGEST), left)
        self.left = left
        return StepOutcome(
            info={"budget": self.left, **raw_reward(rows)},
            reward=np.where(self.left > 0, rows.reward, self.unsafe_reward),
            feature=self.left[:, None],
        )


class SauteBudget(CostWrapper):
    """Sauté RL (Sootla et al. 2022, arXiv:2202.06558): any agent keeps the limit that its observations show.

    Observations get the part z of the budget that is left: 1 at the beginning, then
    ``z <- (z - cost / budget) / gamma``. Flat observations of floats grow by one number at their end,
    dictionaries get the key ``"budget"``, float32 ``[1]``. Once z is 0 or below, the reward is
    ``unsafe_reward`` until the episode ends. The last observation of an episode shows what was left then.
    ``info["budget"]`` is z, ``info["reward_raw"]`` the environment's reward.

    The published code uses ``gamma < 1`` with a budget for the discounted sum of costs, which is
    ``d (1 - gamma^T) / (1 - gamma) / T`` for d per episode of T steps.

    Args:
        env: an environment that gives ``info["cost"]``, costs not negative.
        budget: allowed cost of an episode, discounted by ``gamma``; above 0.
        gamma: discount of the cost in (0, 1]; with 1 the budget is of the undiscounted episode cost.
        unsafe_reward: what a step earns without budget; below anything that a safe step earns.

    Raises:
        TypeError: an argument is no number, or observations are neither flat arrays of floats nor
            dictionaries.
        ValueError: an argument is out of range; costs are normalized inside; observations have the key
            already; or at a step: the cost is missing, negative, not one number, NaN or infinite.
    """

    make_account = SauteAccount

    def __init__(
        self, env: gym.Env[Any, Any], *, budget: float, gamma: float = 1.0, unsafe_reward: float = -1.0
    ) -> None:
        super().__init__(env, budget=budget, gamma=gamma, unsafe_reward=unsafe_reward)
