"""Between ``info["cost"]`` and the six values that Safety-Gymnasium's ``step`` returns."""

from typing import Any, SupportsFloat

from spi_wrappers.cost.accounts import checks
from spi_wrappers.cost.accounts.account import COST_KEY, Account, AccountHolder
from spi_wrappers.cost.wrapper import CostWrapper


class GivenCostAccount(Account):
    """Leaves costs as they are, and adds that of a reset."""

    zero_at_reset = True


class PlainRule(AccountHolder):
    """The constructor of wrappers without arguments."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)


class ToInfoRule(PlainRule):
    """What both classes ``SixTupleToInfo`` share."""

    make_account = GivenCostAccount


def six_of(step: Any, wrapper: str) -> Any:
    """What a wrapped ``step`` returned; a ``ValueError`` unless these are six values."""
    if len(step) != 6:
        raise ValueError(
            f"{wrapper} wraps environments whose step() returns (observation, reward, cost, terminated, truncated, "
            f"info), got {len(step)} values. With five, the cost is in the info, or CostFromInfo can make one."
        )
    return step


class SixTupleToInfo(ToInfoRule, CostWrapper):
    """Moves the cost of a six-tuple ``step`` into ``info["cost"]``, which makes a Gymnasium environment of it.

    Args:
        env: its ``step`` returns ``(observation, reward, cost, terminated, truncated, info)``.

    Raises:
        ValueError: at a step: it returns another number of values, the info already has a cost, or the cost is
            not a finite number.
    """

    def step_inside(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step the environment, and move the cost."""
        step = six_of(self.env.step(action), self._name)
        observation, reward, cost, terminated, truncated, info = step
        if COST_KEY in info:
            raise checks.double_cost(self._name)
        info[COST_KEY] = checks.read_single_cost(cost, self._name, "the third value of step()")
        return observation, reward, terminated, truncated, info


class InfoToSixTuple(PlainRule, CostWrapper):
    """Moves ``info["cost"]`` into a six-tuple ``step``, for algorithms of Safety-Gymnasium.

    ``step`` returns ``(observation, reward, cost, terminated, truncated, info)``; the cost is removed from the
    infos, so that it is not counted twice. The only wrapper that fits around it is ``SixTupleToInfo``.

    Args:
        env: an environment with ``info["cost"]``.

    Raises:
        ValueError: at a step: the cost is missing or not a finite number.
    """

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
