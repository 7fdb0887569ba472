"""The wrappers of ``spi_wrappers`` for vector environments, under the same names."""

from spi_wrappers.vector.limit import CostLimit, CostToTermination
from spi_wrappers.vector.monitor import CostMonitor
from spi_wrappers.vector.normalize import NormalizeCost
from spi_wrappers.vector.shaping import CostPenalty, LagrangianReward, SauteBudget

__all__ = [
    "CostLimit",
    "CostMonitor",
    "CostPenalty",
    "CostToTermination",
    "LagrangianReward",
    "NormalizeCost",
    "SauteBudget",
]
