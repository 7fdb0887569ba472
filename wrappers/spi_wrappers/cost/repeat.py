"""Actions that last several steps."""

from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np

from spi_wrappers.cost import checks
from spi_wrappers.cost.account import COST_KEY, Account, StepOutcome, StepRows
from spi_wrappers.cost.arguments import whole
from spi_wrappers.cost.single import CostWrapper


class RepeatAccount(Account):
    """Hands over the cost that was summed; see ``ActionRepeat``."""

    def __init__(self, num_rows: int, *, repeat: int) -> None:
        super().__init__(num_rows)
        self.repeat = whole("repeat", repeat, at_least=1)
        self.total = np.zeros(num_rows)

    def step(self, rows: StepRows) -> StepOutcome:
        """See ``Account``."""
        return StepOutcome(info={COST_KEY: self.total})


class ActionRepeat(CostWrapper):
    """Repeats each action; the reward and ``info["cost"]`` of a step are the sums.

    It stops where an episode ends. Everything else in the info is the last step's.

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
        rewards, costs = 0.0, 0.0
        for _ in range(self.account.repeat):
            observation, reward, terminated, truncated, info = self.env.step(action)
            if COST_KEY not in info:
                raise checks.missing_cost(self._name, list(info))
            rewards += float(reward)
            costs += checks.read_single_cost(info[COST_KEY], self._name)
            if terminated or truncated:
                break
        self.account.total = np.array([costs])
        return observation, rewards, terminated, truncated, info
