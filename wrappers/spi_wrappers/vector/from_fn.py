"""Costs of a vector environment that a function computes."""

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from spi_wrappers.cost.accounts import checks
from spi_wrappers.cost.accounts.account import Account, Floats, StepRows
from spi_wrappers.cost.accounts.batches import row_of
from spi_wrappers.cost.accounts.functions import FunctionOrName, function_of, name_of
from spi_wrappers.cost.accounts.infos import row_of_infos
from spi_wrappers.cost.from_fn import FnAccount, SingleCost
from spi_wrappers.cost.vector_wrapper import CostVectorWrapper


class CostFromFn(CostVectorWrapper):
    """``spi_wrappers.CostFromFn`` for vector environments.

    Args:
        env: a vector environment without a cost.
        fn: as for single environments, called for one row after the other; or with ``batched``, called once
            with batched observations, actions and infos (the true final observations and infos where episodes
            ended), and returns numbers ``[n]``. Rows that were reset in place of a step are among them; what
            it returns there is not used.
        batched: whether ``fn`` takes all rows at once, which is faster.

    Raises:
        TypeError: ``fn`` is not callable.
        ValueError: as for single environments; or a batched function returns a wrong shape.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], fn: FunctionOrName, *, batched: bool = False) -> None:
        super().__init__(env, fn=name_of(fn), batched=batched)

    def build_account(self, num_rows: int, kwargs: dict[str, Any]) -> Account:
        """See ``CostVectorWrapper``."""
        fn = function_of("fn", kwargs["fn"])
        if kwargs["batched"]:
            return FnAccount(num_rows, _BatchedCosts(fn))
        spaces_of_rows = (self.env.single_observation_space, self.env.single_action_space)
        return FnAccount(num_rows, _CostsRowByRow(SingleCost(fn), *spaces_of_rows))


class _BatchedCosts:
    def __init__(self, fn: Callable[..., Any]) -> None:
        self._fn = fn

    def __call__(self, rows: StepRows) -> Floats:
        if not np.count_nonzero(rows.live):
            return np.zeros(len(rows.live))
        values = self._fn(rows.observation, rows.action, rows.next_observation, rows.info.whole())
        return checks.read_vector_cost(values, rows.live, "CostFromFn", "what fn returns")


class _CostsRowByRow:
    def __init__(self, cost: SingleCost, observations: spaces.Space[Any], actions: spaces.Space[Any]) -> None:
        self._cost, self._observations, self._actions = cost, observations, actions

    def __call__(self, rows: StepRows) -> Floats:
        costs = np.zeros(len(rows.live))
        infos = rows.info.whole()
        for row in np.flatnonzero(rows.live).tolist():
            costs[row] = self._cost.of(
                row_of(self._observations, rows.observation, row),
                row_of(self._actions, rows.action, row),
                row_of(self._observations, rows.next_observation, row),
                row_of_infos(infos, row),
            )
        return costs
