"""Costs of a vector environment that a function computes."""

import functools
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from spi_wrappers.cost.accounts import checks
from spi_wrappers.cost.accounts.account import Account, Floats, StepRows
from spi_wrappers.cost.accounts.batches import row_of
from spi_wrappers.cost.accounts.functions import FunctionOrName, function_of, name_of
from spi_wrappers.cost.accounts.infos import row_of_infos
from spi_wrappers.cost.from_fn import CostFn, FnAccount, cost_of
from spi_wrappers.cost.vector_wrapper import CostVectorWrapper


class CostFromFn(CostVectorWrapper):
    """``spi_wrappers.CostFromFn`` for vector environments.

    Args:
        env: a vector environment without a cost.
        fn: as for single environments, called for one row after the other. With ``batched`` it is called once with
            batched observations, actions and infos (the true final observations and infos where episodes ended),
            and returns numbers ``[n]``; those of rows that were reset instead of stepped are ignored.
        batched: whether ``fn`` takes all rows at once, which is faster.

    Raises:
        ValueError: as for single environments; or a batched function returns a wrong shape.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], fn: FunctionOrName, *, batched: bool = False) -> None:
        super().__init__(env, fn=name_of(fn), batched=batched)

    def build_account(self, num_rows: int, kwargs: dict[str, Any]) -> Account:
        """Make an account that calls the function, once or for each row."""
        fn = function_of("fn", kwargs["fn"])
        if kwargs["batched"]:
            return FnAccount(num_rows, functools.partial(_batched_costs, fn))
        row_spaces = (self.env.single_observation_space, self.env.single_action_space)
        return FnAccount(num_rows, functools.partial(_costs_row_by_row, fn, *row_spaces))


def _batched_costs(fn: CostFn, rows: StepRows) -> Floats:
    if not np.count_nonzero(rows.live):
        return np.zeros(len(rows.live))
    values = fn(rows.observation, rows.action, rows.next_observation, rows.info.whole())
    return checks.read_vector_cost(values, rows.live, "CostFromFn", "what fn returns")


def _costs_row_by_row(
    fn: CostFn, observations: spaces.Space[Any], actions: spaces.Space[Any], rows: StepRows
) -> Floats:
    costs = np.zeros(len(rows.live))
    infos = rows.info.whole()
    for row in np.flatnonzero(rows.live).tolist():
        costs[row] = cost_of(
            fn,
            row_of(observations, rows.observation, row),
            row_of(actions, rows.action, row),
            row_of(observations, rows.next_observation, row),
            row_of_infos(infos, row),
        )
    return costs
