"""Costs that a function computes."""

from collections.abc import Callable
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np

from spi_wrappers.cost.accounts import checks
from spi_wrappers.cost.accounts.account import (
    COST_KEY,
    Account,
    Bools,
    Floats,
    InfoRows,
    RestartOutcome,
    StepOutcome,
    StepRows,
    zero_cost,
)
from spi_wrappers.cost.accounts.functions import FunctionOrName, function_of, name_of
from spi_wrappers.cost.wrapper import CostWrapper

#: The costs of a step's rows, float64 ``[n]``.
Costs: TypeAlias = Callable[[StepRows], Floats]


class FnAccount(Account):
    """Makes costs by a function of the rows; see ``CostFromFn``."""

    cost = "makes"
    needs_observation = True
    masks_itself = True

    def __init__(self, num_rows: int, costs: Costs) -> None:
        super().__init__(num_rows)
        self._costs = costs

    def restart(self, rows: Bools, info: InfoRows) -> RestartOutcome:
        """See ``Account``."""
        return zero_cost(self.num_rows)

    def step(self, rows: StepRows) -> StepOutcome:
        """See ``Account``."""
        return StepOutcome(info={COST_KEY: self._costs(rows)})


class SingleCost:
    """The cost of the one row of a single environment."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        """Take ``fn(observation, action, next_observation, info)``."""
        self._fn = fn

    def __call__(self, rows: StepRows) -> Floats:
        """See ``Costs``."""
        return np.array([self.of(rows.observation, rows.action, rows.next_observation, rows.info.whole())])

    def of(self, observation: Any, action: Any, next_observation: Any, info: dict[str, Any]) -> float:
        """The cost of one transition.

        Raises:
            ValueError: the function gave something else than one finite number.
        """
        value = self._fn(observation, action, next_observation, info)
        return checks.read_single_cost(value, "CostFromFn", "what fn returns")


class CostFromFn(CostWrapper):
    """Adds ``info["cost"]``, computed by a function of the transition; 0 at a reset.

    Args:
        env: an environment without a cost.
        fn: called as ``fn(observation, action, next_observation, info)`` at each step, returns one number. The
            first observation is the one that the action was chosen by. ``"module:function"`` finds it when the
            environment is made again from its spec; of a callable, that name is recorded if it leads to it, so
            that only lambdas and the like keep a spec from being JSON.

    Raises:
        TypeError: ``fn`` is not callable.
        ValueError: ``fn`` names nothing; or at a step: it returns something else than a finite number, or the
            environment has a cost already.
    """

    def __init__(self, env: gym.Env[Any, Any], fn: FunctionOrName) -> None:
        super().__init__(env, fn=name_of(fn))

    def build_account(self, num_rows: int, kwargs: dict[str, Any]) -> Account:
        """See ``CostWrapper``."""
        return FnAccount(num_rows, SingleCost(function_of("fn", kwargs["fn"])))
