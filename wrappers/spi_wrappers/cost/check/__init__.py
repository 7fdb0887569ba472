"""The checker of an environment's costs, ``check_cost_env``."""

from spi_wrappers.cost.check.cost_env import check_cost_env
from spi_wrappers.cost.check.report import CostEnvError, CostReport

__all__ = ["CostEnvError", "CostReport", "check_cost_env"]
