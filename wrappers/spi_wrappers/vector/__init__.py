"""The wrappers of ``spi_wrappers`` for vector environments, under the same names.

This module holds those that consist of nothing but their rule, from the module of the single wrapper.
"""

import importlib
from typing import Any

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
from spi_wrappers.cost.vector_wrapper import CostVectorWrapper
from spi_wrappers.vector.from_fn import CostFromFn
from spi_wrappers.vector.repeat import ActionRepeat
from spi_wrappers.vector.six_tuple import InfoToSixTuple, SixTupleToInfo

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


def __getattr__(name: str) -> Any:
    if name != "LatentObservation":  # it imports JAX, unlike everything else here
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module("spi_wrappers.dream").LatentVectorObservation
