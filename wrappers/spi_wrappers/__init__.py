"""Gymnasium wrappers: cost signals, functional environments, dreams. Importing it registers our Gymnasium ids.

Cost wrappers are here, and for vector environments in ``spi_wrappers.vector``; neither imports JAX or torch.
Functional environments are in ``spi_wrappers.functional`` and dreams in ``spi_wrappers.dream``, which import JAX. The
classes of the latter are also here, imported when they are first used.
"""

import importlib
from typing import Any

from spi_wrappers import registration as _registration
from spi_wrappers.cost.accounts.multiplier import Multiplier, PIDGains
from spi_wrappers.cost.check import CostEnvError, CostReport, check_cost_env
from spi_wrappers.cost.clip import ClipCost, DelayCost
from spi_wrappers.cost.from_fn import CostFromFn
from spi_wrappers.cost.from_info import CostFromInfo
from spi_wrappers.cost.lagrangian import LagrangianReward
from spi_wrappers.cost.limit import CostLimit, CostToTermination
from spi_wrappers.cost.monitor import CostMonitor
from spi_wrappers.cost.multi import MultiCost
from spi_wrappers.cost.normalize import NormalizeCost
from spi_wrappers.cost.repeat import ActionRepeat
from spi_wrappers.cost.saute import SauteBudget
from spi_wrappers.cost.shaping import CostPenalty
from spi_wrappers.cost.six_tuple import InfoToSixTuple, SixTupleToInfo
from spi_wrappers.cost.velocity import VelocityCost

_DREAM = ("DreamCheck", "DreamEnv", "DreamVectorEnv", "LatentObservation", "LatentVectorObservation")

__all__ = [
    "ActionRepeat",
    "ClipCost",
    "CostEnvError",
    "CostFromFn",
    "CostFromInfo",
    "CostLimit",
    "CostMonitor",
    "CostPenalty",
    "CostReport",
    "CostToTermination",
    "DelayCost",
    "InfoToSixTuple",
    "LagrangianReward",
    "MultiCost",
    "Multiplier",
    "NormalizeCost",
    "PIDGains",
    "SauteBudget",
    "SixTupleToInfo",
    "VelocityCost",
    "check_cost_env",
]


def __getattr__(name: str) -> Any:
    if name not in _DREAM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("spi_wrappers.dream"), name)


_registration.register_ids()
