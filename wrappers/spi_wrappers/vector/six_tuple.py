"""Between ``infos["cost"]`` and the six values that Safety-Gymnasium's vector environments return."""

from typing import Any

import numpy as np

from spi_wrappers.cost.accounts import checks
from spi_wrappers.cost.accounts.account import COST_KEY, Bools, Floats
from spi_wrappers.cost.accounts.infos import Infos, put
from spi_wrappers.cost.accounts.rows import Step
from spi_wrappers.cost.six_tuple import PlainRule, ToInfoRule, six_of
from spi_wrappers.cost.vector_wrapper import CostVectorWrapper


class SixTupleToInfo(ToInfoRule, CostVectorWrapper):
    """``spi_wrappers.SixTupleToInfo`` for vector environments; costs are numbers ``[n]``."""

    def step_inside(self, actions: Any) -> Step:
        """Step the environment, and move the costs."""
        step = six_of(self.env.step(actions), self._name)
        observations, reward, cost, terminated, truncated, infos = step
        if COST_KEY in infos or COST_KEY in infos.get("final_info", {}):
            raise checks.double_cost(self._name)
        rows = self._all if self._over is None else ~self._over
        costs = checks.read_vector_cost(cost, rows, self._name, "the third value of step()")
        if self._same_step and "final_info" in infos:
            ended = terminated | truncated
            infos["final_info"] = dict(infos["final_info"])
            put(infos["final_info"], COST_KEY, costs, ended, self._size)
            rows = ~ended
        if rows.any():
            put(infos, COST_KEY, costs, None if rows.all() else rows, self._size)
        return observations, reward, terminated, truncated, infos


class InfoToSixTuple(PlainRule, CostVectorWrapper):
    """``spi_wrappers.InfoToSixTuple`` for vector environments; costs are float64 ``[n]``, 0 in reset rows."""

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, Infos]:
        """Begin new episodes, in all rows or where ``options["reset_mask"]``, bool ``[n]``, is true."""
        observations, infos = super().reset(seed=seed, options=options)
        return observations, _without_cost(infos)

    def step(  # type: ignore[override]
        self, actions: Any
    ) -> tuple[Any, Floats, Floats, Bools, Bools, Infos]:
        """Step all rows."""
        observations, reward, terminated, truncated, infos = super().step(actions)
        infos = _without_cost(infos)
        if "final_info" in infos:
            infos["final_info"] = _without_cost(infos["final_info"])
        assert self.last_step is not None
        return observations, reward, np.copy(self.last_step.cost), terminated, truncated, infos


def _without_cost(infos: Infos) -> Infos:
    return {key: value for key, value in infos.items() if key not in (COST_KEY, f"_{COST_KEY}")}
