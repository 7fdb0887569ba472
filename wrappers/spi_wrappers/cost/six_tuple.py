"""Between the six values that Safety-Gymnasium's ``step`` returns and ``info["cost"]``."""

from typing import Any, SupportsFloat

import gymnasium as gym

from spi_wrappers.cost.accounts import checks
from spi_wrappers.cost.accounts.account import COST_KEY, Account, Bools, InfoRows, RestartOutcome, zero_cost
from spi_wrappers.cost.wrapper import CostWrapper


class GivenCostAccount(Account):
    """Checks costs that are given, and adds that of a reset."""

    def restart(self, rows: Bools, info: InfoRows) -> RestartOutcome:
        """See ``Account``."""
        return zero_cost(self.num_rows)


def six_of(step: Any, wrapper: str) -> Any:
    """What a wrapped ``step`` returned.

    Raises:
        ValueError: it is not six values.
    """
    if len(step) != 6:
        raise ValueError(
            f"{wrapper} wraps environments whose step() returns (observation, reward, cost, terminated, truncated, "
            f"info), got {len(step)} values. With five the cost is in the info, or has to be made: CostFromInfo."
        )
    return step


class SixTupleToInfo(CostWrapper):
    """Moves the cost of a six-tuple ``step`` into ``info["cost"]``, and so makes a Gymnasium environment of it.

    Args:
        env: its ``step`` returns ``(observation, reward, cost, terminated, truncated, info)``.

    Raises:
        ValueError: at a step: it returns another number of values, the info has a cost already, or the cost is
            no finite number.
    """

    make_account = GivenCostAccount

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)

    def step_inside(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """See ``CostWrapper``."""
        step = six_of(self.env.step(action), self._name)
        observation, reward, cost, terminated, truncated, info = step
        if COST_KEY in info:
            raise checks.double_cost(self._name)
        info[COST_KEY] = checks.read_single_cost(cost, self._name, "the third value of step()")
        return observation, reward, terminated, truncated, info


class InfoToSixTuple(CostWrapper):
    """Moves ``info["cost"]`` into a six-tuple ``step``, for algorithms of Safety-Gymnasium.

    ``step`` returns ``(observation, reward, cost, terminated, truncated, info)``; infos have no cost any more,
    so that nobody counts it twice. No Gymnasium wrapper fits around it but ``SixTupleToInfo``.

    Args:
        env: an environment that gives ``info["cost"]``.

    Raises:
        ValueError: at a step: the cost is missing or no finite number.
    """

    make_account = Account

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset the environment."""
        observation, info = super().reset(seed=seed, options=options)
        info.pop(COST_KEY, None)
        return observation, info

    def step(  # type: ignore[override]
        self, action: Any
    ) -> tuple[Any, SupportsFloat, float, bool, bool, dict[str, Any]]:
        """Step the environment."""
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, float(info.pop(COST_KEY)), terminated, truncated, info
