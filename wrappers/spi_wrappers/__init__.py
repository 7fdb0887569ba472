"""Gymnasium wrappers: cost signals, functional environments, dreams. Importing it registers our Gymnasium ids.

The cost wrappers are here, their twins for vector environments in ``spi_wrappers.vector``. Neither imports JAX
or torch; functional environments are in ``spi_wrappers.functional``, which does.
"""

from spi_wrappers import registration as _registration
from spi_wrappers.cost.monitor import CostMonitor

__all__ = ["CostMonitor"]

_registration.register_ids()
