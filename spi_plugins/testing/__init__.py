"""The conformance suite: what plugin authors import into their own tests."""

from spi_plugins.testing.algorithm import check_algorithm
from spi_plugins.testing.functional_env import check_functional_env
from spi_plugins.testing.planner import check_planner
from spi_plugins.testing.requirement import ConformanceError
from spi_plugins.testing.sandbox import plugin_sandbox
from spi_plugins.testing.world_model import check_world_model
from spi_plugins.testing.wrapper import check_wrapper

__all__ = [
    "ConformanceError",
    "check_algorithm",
    "check_functional_env",
    "check_planner",
    "check_world_model",
    "check_wrapper",
    "plugin_sandbox",
]
