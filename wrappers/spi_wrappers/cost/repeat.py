"""Actions that are repeated for several steps."""

from typing import Any, SupportsFloat

import numpy as np

from spi_wrappers.cost.accounts import checks
from spi_wrappers.cost.accounts.account import COST_KEY, Account, AccountHolder, StepOutcome, StepRows
from spi_wrappers.cost.accounts.arguments import whole
from spi_wrappers.cost.wrapper import CostWrapper

#: The number of environment steps that a step of ``ActionRepeat`` took.
REPEATS_KEY = "n_repeats"


class RepeatAccount(Account):
    """Reports the summed cost and the number of steps."""

    def __init__(self, num_rows: int, *, repeat: int) -> None:
        super().__init__(num_rows)
        self.repeat = whole("repeat", repeat, at_least=1)
        self.total = np.zeros(num_rows)
        self.steps = np.zeros(num_rows, np.int64)

    def step(self, rows: StepRows) -> StepOutcome:
        """Report what ``step_inside`` counted."""
        return StepOutcome(info={COST_KEY: self.total, REPEATS_KEY: self.steps})


class RepeatRule(AccountHolder):
    """What both classes ``ActionRepeat`` share."""

    make_account = RepeatAccount
    account: RepeatAccount

    def __init__(self, env: Any, repeat: int) -> None:
        super().__init__(env, repeat=repeat)


class ActionRepeat(RepeatRule, CostWrapper):
    """Repeats each action; the reward and ``info["cost"]`` of a step are the sums.

    Repetition stops where an episode ends; ``info["n_repeats"]`` is the number of environment steps taken.
    Everything else in the info is from the last of them.

    Args:
        env: an environment with ``info["cost"]``.
        repeat: number of repetitions, at least 1.
    """

    def step_inside(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step the environment up to ``repeat`` times."""
        rewards, costs, steps = 0.0, 0.0, 0
        for _ in range(self.account.repeat):
            observation, reward, terminated, truncated, info = self.env.step(action)
            steps += 1
            rewards += float(reward)
            costs += checks.cost_in(info, self._name)
            if terminated or truncated:
                break
        self.account.total, self.account.steps = np.array([costs]), np.array([steps])
        return observation, rewards, terminated, truncated, info
