"""The ``spi`` command. Each subcommand is a plugin's; what a subcommand needs is imported when it runs."""

from spi_plugins.cli.dispatch import main

__all__ = ["main"]
