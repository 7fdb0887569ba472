"""The conformance suite: what plugin authors import into their own tests."""

from spi_plugins.testing.sandbox import plugin_sandbox

__all__ = ["plugin_sandbox"]
