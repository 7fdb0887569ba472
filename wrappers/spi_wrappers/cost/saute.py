"""Sauté RL: the remaining budget becomes part of the observation."""

from typing import Any

import numpy as np

from spi_wrappers.cost.accounts import account
from spi_wrappers.cost.accounts.arguments import real
from spi_wrappers.cost.shaping import raw_reward
from spi_wrappers.cost.wrapper import CostWrapper

# With gamma < 1, the remaining budget can leave float32's range after many steps.
_LARGEST = float(np.finfo(np.float32).max)


class SauteAccount(account.Account):
    """Spends a budget."""

    def __init__(self, num_rows: int, *, budget: float, gamma: float, unsafe_reward: float) -> None:
        super().__init__(num_rows)
        self.budget = real("budget", budget, above=0.0)
        self.gamma = real("gamma", gamma, above=0.0, at_most=1.0)
        self.unsafe_reward = real("unsafe_reward", unsafe_reward)
        self.left = np.ones(num_rows)
        highest = 1.0 if self.gamma == 1 else _LARGEST
        self.feature = account.Feature("budget", np.array([-_LARGEST]), np.array([highest]))

    def restart(self, rows: account.Bools, info: account.InfoRows) -> account.RestartOutcome:
        """Refill the budget."""
        self.left = np.where(rows, 1.0, self.left)
        return account.RestartOutcome({"budget": self.left}, self.left[:, None])

    def step(self, rows: account.StepRows) -> account.StepOutcome:
        """Spend the costs of the step."""
        if rows.cost.min() < 0:
            raise ValueError(
                f"SauteBudget needs costs that are not negative, got {rows.cost[rows.cost < 0].tolist()}: "
                "spending must not refill the budget."
            )
        left = self.left - rows.cost / self.budget
        if self.gamma < 1:  # rows that are not live have just restarted, and cost nothing
            left = np.where(rows.live, np.clip(left / self.gamma, -_LARGEST, _LARGEST), left)
        self.left = left
        return account.StepOutcome(
            info={"budget": self.left, **raw_reward(rows)},
            reward=np.where(self.left > 0, rows.reward, self.unsafe_reward),
            feature=self.left[:, None],
        )


class SauteRule(account.AccountHolder):
    """What all classes ``SauteBudget`` share."""

    make_account = SauteAccount

    def __init__(self, env: Any, *, budget: float, gamma: float = 1.0, unsafe_reward: float = -1.0) -> None:
        super().__init__(env, budget=budget, gamma=gamma, unsafe_reward=unsafe_reward)


class SauteBudget(SauteRule, CostWrapper):
    """Sauté RL (Sootla et al. 2022, arXiv:2202.06558): any agent keeps the limit that its observations show.

    Observations get the remaining fraction z of the budget: 1 at the beginning, then
    ``z <- (z - cost / budget) / gamma``. Flat observations of floats grow by one number at their end,
    dictionaries get the key ``"budget"``, float32 ``[1]``. Once z is 0 or below, the reward is
    ``unsafe_reward`` until the episode ends. The last observation of an episode shows what was left then.
    ``info["budget"]`` is z, ``info["reward_raw"]`` the environment's reward.

    The published code uses ``gamma < 1`` with a budget for the discounted sum of costs, which is
    ``d (1 - gamma^T) / (1 - gamma) / T`` for d per episode of T steps.

    Args:
        env: an environment with ``info["cost"]``; costs must not be negative.
        budget: allowed cost of an episode, discounted by ``gamma``; above 0.
        gamma: discount of the cost in (0, 1]; 1 makes it the undiscounted cost of an episode.
        unsafe_reward: reward of a step without budget; should be below that of any safe step.

    Raises:
        TypeError: observations are neither flat arrays of floats nor dictionaries.
        ValueError: costs are normalized inside; observations already have the key; or at a step, the cost is
            negative.
    """
