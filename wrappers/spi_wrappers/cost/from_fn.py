"""Costs that a function computes."""

import functools
import pkgutil
import re
from collections.abc import Callable
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np

from spi_wrappers.cost.accounts import checks
from spi_wrappers.cost.accounts.account import COST_KEY, Account, Floats, StepOutcome, StepRows
from spi_wrappers.cost.wrapper import CostWrapper

#: ``fn(observation, action, next_observation, info)``, of one transition or of a batch.
CostFn: TypeAlias = Callable[..., Any]

#: ``"module:function"``, or the function.
FunctionOrName: TypeAlias = str | Callable[..., Any]


class FnAccount(Account):
    """Makes costs by a function of the rows, which returns float64 ``[n]``."""

    cost = "makes"
    zero_at_reset = True
    needs_observation = True
    masks_itself = True

    def __init__(self, num_rows: int, costs: Callable[[StepRows], Floats]) -> None:
        super().__init__(num_rows)
        self._costs = costs

    def step(self, rows: StepRows) -> StepOutcome:
        """Make the costs of the step."""
        return StepOutcome(info={COST_KEY: self._costs(rows)})


def cost_of(fn: CostFn, *transition: Any) -> float:
    """The cost of one transition, one finite number."""
    return checks.read_single_cost(fn(*transition), "CostFromFn", "what fn returns")


def _single_costs(fn: CostFn, rows: StepRows) -> Floats:
    return np.array([cost_of(fn, rows.observation, rows.action, rows.next_observation, rows.info.whole())])


def name_of(function: FunctionOrName) -> FunctionOrName:
    """The ``"module:function"`` that leads to a function, so that specs can be JSON; else the argument itself."""
    if isinstance(function, str) or not callable(function):
        return function
    name = f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', '')}"
    try:
        return name if function_of("fn", name) is function else function
    except (ValueError, TypeError):
        return function


def function_of(argument: str, function: FunctionOrName) -> Callable[..., Any]:
    """The function, looked up if it is a name; the ``TypeError`` or ``ValueError`` names the argument."""
    found: Any = function
    if isinstance(function, str):
        if not re.fullmatch(r"[^:]+:[^:]+", function):
            raise ValueError(f"{argument} must be a callable or 'module:function', got {function!r}.")
        try:
            found = pkgutil.resolve_name(function)
        except (ImportError, AttributeError) as error:
            raise ValueError(f"{argument}={function!r} cannot be found: {error}.") from error
    if not callable(found):
        raise TypeError(f"{argument} must be a callable or 'module:function', got {found!r}.")
    return found  # type: ignore[no-any-return]


class CostFromFn(CostWrapper):
    """Adds ``info["cost"]``, computed by a function of the transition; 0 at a reset.

    Args:
        env: an environment without a cost.
        fn: called as ``fn(observation, action, next_observation, info)`` at each step, returns one number. The
            first observation is the one that the action was chosen by. ``"module:function"`` finds it when the
            environment is made again from its spec. For a callable, that name is recorded if it leads to it, so
            that only lambdas and the like keep a spec from being JSON.

    Raises:
        ValueError: ``fn`` names nothing; or at a step: it does not return a finite number, or the environment
            already has a cost.
    """

    def __init__(self, env: gym.Env[Any, Any], fn: FunctionOrName) -> None:
        super().__init__(env, fn=name_of(fn))

    def build_account(self, num_rows: int, kwargs: dict[str, Any]) -> Account:
        """Make an account that calls the function."""
        return FnAccount(num_rows, functools.partial(_single_costs, function_of("fn", kwargs["fn"])))
