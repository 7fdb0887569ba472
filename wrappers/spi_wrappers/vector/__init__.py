"""The wrappers of ``spi_wrappers`` for vector environments, under the same names.

Most consist of nothing but their rule, from the module of the single wrapper.
"""

import functools
import importlib
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from spi_wrappers.cost import (
    clip,
    from_info,
    lagrangian,
    limit,
    monitor,
    multi,
    normalize,
    saute,
    shaping,
    velocity,
)
from spi_wrappers.cost.accounts import checks
from spi_wrappers.cost.accounts.account import COST_KEY, Account, Bools, Floats, StepRows
from spi_wrappers.cost.accounts.batches import row_of
from spi_wrappers.cost.accounts.infos import Infos, put, row_of_infos
from spi_wrappers.cost.accounts.rows import Step
from spi_wrappers.cost.from_fn import CostFn, FnAccount, FunctionOrName, cost_of, function_of, name_of
from spi_wrappers.cost.six_tuple import PlainRule, ToInfoRule, six_of
from spi_wrappers.cost.vector_wrapper import CostVectorWrapper
from spi_wrappers.vector.repeat import ActionRepeat

__all__ = [
    "ActionRepeat",
    "ClipCost",
    "CostFromFn",
    "CostFromInfo",
    "CostLimit",
    "CostMonitor",
    "CostPenalty",
    "CostToTermination",
    "DelayCost",
    "InfoToSixTuple",
    "LagrangianReward",
    "MultiCost",
    "NormalizeCost",
    "SauteBudget",
    "SixTupleToInfo",
    "VelocityCost",
]


class ClipCost(clip.ClipRule, CostVectorWrapper):
    """``spi_wrappers.ClipCost`` for vector environments."""


class DelayCost(clip.DelayRule, CostVectorWrapper):
    """``spi_wrappers.DelayCost`` for vector environments."""


class CostFromInfo(from_info.InfoRule, CostVectorWrapper):
    """``spi_wrappers.CostFromInfo`` for vector environments."""


class CostLimit(limit.LimitRule, CostVectorWrapper):
    """``spi_wrappers.CostLimit`` for vector environments.

    Where the environment resets rows by itself (``NEXT_STEP``, ``SAME_STEP``) it must honor
    ``reset(options={"reset_mask": ...})``, as ``SyncVectorEnv``, ``AsyncVectorEnv`` and
    ``FunctionalVectorEnv`` do. Under ``NEXT_STEP`` all but ``SyncVectorEnv`` make one more, unseen transition in
    a row whose episode was ended, before its reset; it may consume random numbers.

    Raises:
        ValueError: also if the environment is not known to honor the mask.
    """


class CostToTermination(limit.TerminationRule, CostVectorWrapper):
    """``spi_wrappers.CostToTermination`` for vector environments; it resets rows as ``CostLimit`` does."""


class CostMonitor(monitor.MonitorRule, CostVectorWrapper):
    """``spi_wrappers.CostMonitor`` for vector environments; its statistics are over all rows.

    ``gymnasium.wrappers.vector.RecordEpisodeStatistics`` goes inside; the costs are added to its
    ``infos["episode"]``.
    """


class MultiCost(multi.MultiRule, CostVectorWrapper):
    """``spi_wrappers.MultiCost`` for vector environments."""


class NormalizeCost(normalize.NormalizeRule, CostVectorWrapper):
    """``spi_wrappers.NormalizeCost`` for vector environments: one statistic over all rows.

    In a vector of wrapped single environments each has its own, so the two agree only with one row or with
    ``update=False``.
    """


class CostPenalty(shaping.PenaltyRule, CostVectorWrapper):
    """``spi_wrappers.CostPenalty`` for vector environments."""


class LagrangianReward(lagrangian.LagrangianRule, CostVectorWrapper):
    """``spi_wrappers.LagrangianReward`` for vector environments: one multiplier for all rows.

    All rows of a step have the same λ. Where episodes end in a step, λ moves once, by their mean cost, and
    applies from the next step on. A vector of wrapped single environments does the same if they share one
    ``Multiplier(limit, manual=True)`` whose ``update()`` is called after every step of the vector environment;
    without ``manual``, λ would move between the rows of a step.
    """


class SauteBudget(saute.SauteRule, CostVectorWrapper):
    """``spi_wrappers.SauteBudget`` for vector environments: a budget for each row.

    ``infos["final_obs"]`` shows what was left at the end of an episode, the observations what the new one has.
    """


class VelocityCost(velocity.VelocityRule, CostVectorWrapper):
    """``spi_wrappers.VelocityCost`` for vector environments, including EnvPool's."""


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


def __getattr__(name: str) -> Any:
    if name != "LatentObservation":  # it imports JAX, unlike everything else here
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module("spi_wrappers.dream").LatentVectorObservation
