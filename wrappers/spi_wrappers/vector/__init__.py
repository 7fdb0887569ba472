"""The wrappers of ``spi_wrappers`` for vector environments, under the same names."""

import importlib
from typing import Any

from spi_wrappers.vector.clip import ClipCost, DelayCost
from spi_wrappers.vector.from_fn import CostFromFn
from spi_wrappers.vector.from_info import CostFromInfo
from spi_wrappers.vector.limit import CostLimit, CostToTermination
from spi_wrappers.vector.monitor import CostMonitor
from spi_wrappers.vector.multi import MultiCost
from spi_wrappers.vector.normalize import NormalizeCost
from spi_wrappers.vector.repeat import ActionRepeat
from spi_wrappers.vector.shaping import CostPenalty, LagrangianReward, SauteBudget
from spi_wrappers.vector.six_tuple import InfoToSixTuple, SixTupleToInfo
from spi_wrappers.vector.velocity import VelocityCost

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


def __getattr__(name: str) -> Any:
    if name != "LatentObservation":  # it imports JAX, which nothing else here does
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module("spi_wrappers.dream").LatentVectorObservation
