"""Actions that last several steps."""

from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np

from spi_wrappers.cost.accounts import checks
from spi_wrappers.cost.accounts.account import COST_KEY, Account, StepOutcome, StepRows
from spi_wrappers.cost.accounts.arguments import whole
from spi_wrappers.cost.wrapper import CostWrapper

#: How many steps of the environment a step of ``ActionRepeat`` took.
REPEATS_KEY = "n_repeats"


class RepeatAccount(Account):
    """Hands over the cost that was summed and the steps that were taken; see ``ActionRepeat``."""

    def __init__(self, num_rows: int, *, repeat: int) -> None:
        super().__init__(num_rows)
        self.repeat = whole("repeat", repeat, at_least=1)
        self.total = np.zeros(num_rows)
        self.steps = np.zeros(num_rows, np.int64)

    def step(self, rows: StepRows) -> StepOutcome:
        """See ``Account``."""
        return StepOutcome(info={COST_KEY: self.total, REPEATS_KEY: self.steps})


class ActionRepeat(CostWrapper):
    """Repeats each action; the reward and ``info["cost"]`` of a step are the sums.

    It stops where an episode ends; ``info["n_repeats"]`` says how many steps of the environment were taken.
    Everything else in the info is the last step's.

    Args:
        env: an environment that gives ``info["cost"]``.
        repeat: how often; at least 1.

    Raises:
        TypeError: ``repeat`` is no integer.
        ValueError: it is below 1; or at a step, the cost is missing or no finite number.
    """

    make_account = RepeatAccount
    account: RepeatAccount

    def __init__(self, env: gym.Env[Any, Any], repeat: int) -> None:
        super().__init__(env, repeat=repeat)

    def step_inside(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """See ``CostWrapper``."""
        rewards, costs, steps = 0.0, 0.0, 0
        for _ in range(self.account.repeat):
            observation, reward, terminated, truncated, info = self.env.step(action)
            if COST_KEY not in info:
                raise checks.missing_cost(self._name, list(info))
            steps += 1
            rewards += float(reward)
            costs += checks.read_single_cost(info[COST_KEY], self._name)
            if terminated or truncated:
                break
        self.account.total, self.account.steps = np.array([costs]), np.array([steps])
        return observation, rewards, terminated, truncated, info
