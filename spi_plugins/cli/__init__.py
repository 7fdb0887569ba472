"""The ``spi`` command. Subcommands are registered by plugins; what one needs is imported when it runs."""

from spi_plugins.cli.dispatch import main

__all__ = ["main"]
