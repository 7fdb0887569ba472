"""The wrappers of ``spi_wrappers`` for vector environments, under the same names."""

from spi_wrappers.vector.monitor import CostMonitor

__all__ = ["CostMonitor"]
