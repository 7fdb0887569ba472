"""Checks the costs of an environment at each reset and step: the work of ``check_cost_env``."""

import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from spi_wrappers.cost.accounts.account import COST_KEY
from spi_wrappers.cost.accounts.order import layers
from spi_wrappers.cost.check.report import CostReport

RAW_COST_KEY = "cost_raw"
TERMS_KEY = "cost_terms"

MAKE_ONE = "make one: spi_wrappers.CostFromInfo, CostFromFn, VelocityCost or SixTupleToInfo"
_SIX = (
    "step() returns six values, as environments of Safety-Gymnasium do, of which the third is the cost. Wrap it in "
    "spi_wrappers.SixTupleToInfo, which puts that into info['cost']"
)


class Watch:
    """What the watches of single and vector environments share."""

    def __init__(self, env: Any, report: CostReport) -> None:
        self.env, self.report = env, report
        self.observation: Any = None
        self.time = 0
        self._terms_add_up = not any(
            type(layer).__name__ == "MultiCost" and layer.combine == "worst" for layer in layers(env)
        )

    def reset(self, seed: int | None = None) -> bool:
        """Reset the environment; whether it can be stepped."""
        infos = self._reset(seed=seed)
        if infos is None:
            return False
        self._begin(infos)
        return True

    def _begin(self, infos: Any) -> None:
        """Check the infos of a whole reset, and begin new sums."""
        raise NotImplementedError

    def _call(self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The result, or ``None`` after an error, which ends the run."""
        try:
            return function(*args, **kwargs)
        except Exception as error:
            self._error("raised", f"{name} raised {type(error).__name__}: {error}")
            return None

    def _reset(self, **kwargs: Any) -> Any:
        """Keep the observation and return the infos, or ``None`` after an error."""
        result = self._call("reset()", self.env.reset, **kwargs)
        if result is None:
            return None
        if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[1], dict):
            self._error("reset", "reset() must return an observation and an info dictionary")
            return None
        self.observation = result[0]
        return result[1]

    def _step(self, action: Any) -> tuple[Any, Any, Any, Any] | None:
        """Keep the observation and return the rest, or ``None`` after an error."""
        self.time += 1
        result = self._call("step()", self.env.step, action)
        if result is None:
            return None
        if isinstance(result, tuple) and len(result) == 5 and isinstance(result[4], dict):
            self.observation = result[0]
            return result[1:]
        if isinstance(result, tuple) and len(result) == 6:
            self._error("six", _SIX)
            if isinstance(result[5], dict) and COST_KEY in result[5]:
                self._error("double", "There is a cost in info['cost'], too: keep one of the two")
        else:
            words = "observation, reward, terminated, truncated and an info dictionary"
            self._error("step", f"step() must return {words}, got {kind_of(result)}")
        return None

    def _error(self, kind: str, text: str, row: int | None = None) -> None:
        self.report.error(kind, text, self._where(row))

    def _where(self, row: int | None = None) -> str:
        place = f"at step {self.time}" if self.time else "before step 1"
        return place if row is None else f"{place} in row {row}"

    def _is_cost(self, cost: float, row: int | None = None) -> bool:
        """Whether a number can be a cost; reports it if not."""
        if not math.isfinite(cost):
            self._error("finite", f"info['cost'] is {cost}; it must be finite", row)
        elif cost < 0:
            text = f"info['cost'] is {cost:g}; costs are not negative (benefits belong in the reward)"
            self._error("negative", text, row)
        return math.isfinite(cost) and cost >= 0

    def _check_terms(self, terms: Any, cost: float, row: int | None = None) -> None:
        if not isinstance(terms, Mapping):
            self._error("terms kind", f"{TERMS_KEY} must be a dictionary, got {kind_of(terms)}", row)
            return
        for name, value in terms.items():
            if not isinstance(value, numbers.Real | np.bool_) or not math.isfinite(value):
                self._error("terms", f"{TERMS_KEY}[{name!r}] must be a finite number, got {value!r}", row)
                return
        if self._terms_add_up:
            values = [float(value) for value in terms.values()]
            # The cost is the largest term where all of them are violations, 0 or 1.
            if not _close(cost, sum(values)) and not _close(cost, max(values, default=0.0)):
                text = f"info['cost'] is {cost:g}, but its cost_terms add up to {sum(values):g}"
                self._error("terms sum", text, row)

    def _end(self, total: float, statistics: Any, row: int | None = None) -> None:
        self.report.episode_costs.append(total)
        if not isinstance(statistics, Mapping) or "c" not in statistics:
            return
        shown = float(statistics["c"])
        if not _close(shown, total):
            text = (
                f"info['episode']['c'] is {shown:g}, but the costs of the episode add up to {total:g}. If something "
                "outside of CostMonitor changes the cost, put CostMonitor around it; only NormalizeCost goes outside"
            )
            self._error("episode", text, row)


class SingleWatch(Watch):
    """Watches a single environment."""

    env: gym.Env[Any, Any]

    def _begin(self, info: Any) -> None:
        self._total = 0.0
        if COST_KEY not in info:
            self._error("reset missing", f"info['cost'] is missing at reset; give 0.0, or {MAKE_ONE}")
        elif self._cost(info) not in (None, 0.0):
            text = f"info['cost'] is {info[COST_KEY]!r} at reset instead of 0.0: a reset is not a transition"
            self._error("reset cost", text)

    def step(self, action: Any) -> bool:
        """Step the environment, and reset it if the episode ended; whether to continue."""
        result = self._step(action)
        if result is None:
            return False
        _, terminated, truncated, info = result
        self.report.steps += 1
        if COST_KEY not in info:
            text = (
                "info['cost'] is missing; it must be there at every step, 0.0 where nothing happened. If the "
                f"environment has none, {MAKE_ONE}"
            )
            self._error("missing", text)
        elif (cost := self._cost(info)) is not None:
            raw = float(info.get(RAW_COST_KEY, cost))
            self.report.total_cost += cost
            self._total += raw
            if TERMS_KEY in info:
                self._check_terms(info[TERMS_KEY], raw)
        if terminated or truncated:
            self._end(self._total, info.get("episode"))
            return self.reset()
        return True

    def _cost(self, info: Mapping[str, Any]) -> float | None:
        value = info[COST_KEY]
        if not isinstance(value, numbers.Real | np.bool_):
            self._error("kind", f"info['cost'] must be a float, got {kind_of(value)}")
            return None
        if not isinstance(value, float):
            text = f"info['cost'] is of type {type(value).__name__}; all libraries can read float(cost)"
            self.report.warn("float", text, self._where())
        return float(value) if self._is_cost(float(value)) else None


def _close(mine: float, theirs: float) -> bool:
    return math.isclose(mine, theirs, rel_tol=1e-6, abs_tol=1e-6)


def kind_of(value: Any) -> str:
    """The type of a value, in words."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)}"
    return f"{type(value).__name__} {value!r}"
