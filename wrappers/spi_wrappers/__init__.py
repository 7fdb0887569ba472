"""Gymnasium wrappers: cost signals, functional environments, dreams.

The cost wrappers are here, their twins for vector environments in ``spi_wrappers.vector``. Neither imports JAX
or torch; functional environments are in ``spi_wrappers.functional``, which does.
"""

from spi_wrappers.cost.monitor import CostMonitor

__all__ = ["CostMonitor"]
