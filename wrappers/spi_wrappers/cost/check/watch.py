"""Looking at the costs of an environment at each reset and step: the work of ``check_cost_env``."""

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
    """What single and vector environments have in common."""

    def __init__(self, env: Any, report: CostReport) -> None:
        self.env, self.report = env, report
        self.observation: Any = None
        self.time = 0
        self._terms_add_up = not any(
            type(layer).__name__ == "MultiCost" and layer.combine == "worst" for layer in layers(env)
        )

    def _call(self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The result, or ``None`` after an error, which ends the run."""
        try:
            return function(*args, **kwargs)
        except Exception as error:
            self.report.error("raised", f"{name} raised {type(error).__name__}: {error}", self._where())
            return None

    def _reset(self, **kwargs: Any) -> tuple[Any, Any] | None:
        result = self._call("reset()", self.env.reset, **kwargs)
        if result is None:
            return None
        if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[1], dict):
            self.report.error(
                "reset", "reset() must return an observation and an info dictionary", self._where()
            )
            return None
        return result

    def _step(self, action: Any) -> tuple[Any, Any, Any, Any, Any] | None:
        self.time += 1
        result = self._call("step()", self.env.step, action)
        if result is None:
            return None
        if isinstance(result, tuple) and len(result) == 5 and isinstance(result[4], dict):
            return result
        if isinstance(result, tuple) and len(result) == 6:
            self.report.error("six", _SIX, self._where())
            if isinstance(result[5], dict) and COST_KEY in result[5]:
                self.report.error(
                    "double", "There is a cost in info['cost'], too: keep one of the two", self._where()
                )
        else:
            words = "observation, reward, terminated, truncated and an info dictionary"
            self.report.error("step", f"step() must return {words}, got {kind_of(result)}", self._where())
        return None

    def _where(self, row: int | None = None) -> str:
        place = f"at step {self.time}" if self.time else "before step 1"
        return place if row is None else f"{place} in row {row}"

    def _check_terms(self, terms: Any, cost: float, where: str) -> None:
        if not isinstance(terms, Mapping):
            self.report.error("terms kind", f"{TERMS_KEY} must be a dictionary, got {kind_of(terms)}", where)
            return
        for name, value in terms.items():
            if not isinstance(value, numbers.Real | np.bool_) or not math.isfinite(value):
                self.report.error(
                    "terms", f"{TERMS_KEY}[{name!r}] must be a finite number, got {value!r}", where
                )
                return
        if self._terms_add_up:
            total = sum(float(value) for value in terms.values())
            # The largest is the cost where each is a violation, 0 or 1, and so is the cost.
            largest = max((float(value) for value in terms.values()), default=0.0)
            if not _close(cost, total) and not _close(cost, largest):
                text = f"info['cost'] is {cost:g}, but its cost_terms add up to {total:g}"
                self.report.error("terms sum", text, where)

    def _end(self, total: float, statistics: Any, where: str) -> None:
        self.report.episode_costs.append(total)
        if not isinstance(statistics, Mapping) or "c" not in statistics:
            return
        shown = float(statistics["c"])
        if not _close(shown, total):
            text = (
                f"info['episode']['c'] is {shown:g}, but the costs of the episode add up to {total:g}. If something "
                "outside of CostMonitor changes the cost, put CostMonitor around it; only NormalizeCost goes outside"
            )
            self.report.error("episode", text, where)


class SingleWatch(Watch):
    """Looks at a single environment."""

    env: gym.Env[Any, Any]

    def reset(self, seed: int | None = None) -> bool:
        """Reset it; whether it can be stepped."""
        result = self._reset(seed=seed)
        if result is None:
            return False
        self.observation, info = result
        self._total = 0.0
        where = self._where()
        if COST_KEY not in info:
            self.report.error(
                "reset missing", f"info['cost'] is missing at reset; give 0.0, or {MAKE_ONE}", where
            )
        elif self._cost(info, where) not in (None, 0.0):
            text = f"info['cost'] is {info[COST_KEY]!r} at reset instead of 0.0: a reset is no transition"
            self.report.error("reset cost", text, where)
        return True

    def step(self, action: Any) -> bool:
        """Step it, and reset it where an episode ended; whether to go on."""
        result = self._step(action)
        if result is None:
            return False
        self.observation, _, terminated, truncated, info = result
        where = self._where()
        self.report.steps += 1
        if COST_KEY not in info:
            text = (
                "info['cost'] is missing; it must be there at every step, 0.0 where nothing happened. If the "
                f"environment has none, {MAKE_ONE}"
            )
            self.report.error("missing", text, where)
        elif (cost := self._cost(info, where)) is not None:
            raw = float(info.get(RAW_COST_KEY, cost))
            self.report.total_cost += cost
            self._total += raw
            if TERMS_KEY in info:
                self._check_terms(info[TERMS_KEY], raw, where)
        if terminated or truncated:
            self._end(self._total, info.get("episode"), where)
            return self.reset()
        return True

    def _cost(self, info: Mapping[str, Any], where: str) -> float | None:
        value = info[COST_KEY]
        if not isinstance(value, numbers.Real | np.bool_):
            self.report.error("kind", f"info['cost'] must be a float, got {kind_of(value)}", where)
            return None
        if not isinstance(value, float):
            text = (
                f"info['cost'] is of type {type(value).__name__}; float(cost) is what all libraries can read"
            )
            self.report.warn("float", text, where)
        return float(value) if judge(self.report, float(value), where) else None


def _close(mine: float, theirs: float) -> bool:
    return math.isclose(mine, theirs, rel_tol=1e-6, abs_tol=1e-6)


def judge(report: CostReport, cost: float, where: str) -> bool:
    """Whether a number can be a cost; notes it if not."""
    if not math.isfinite(cost):
        report.error("finite", f"info['cost'] is {cost}; it must be finite", where)
    elif cost < 0:
        text = f"info['cost'] is {cost:g}; costs are not negative (what is good belongs to the reward)"
        report.error("negative", text, where)
    return math.isfinite(cost) and cost >= 0


def kind_of(value: Any) -> str:
    """What came, in words."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)}"
    return f"{type(value).__name__} {value!r}"
