"""``python -m spi_plugins.cli``, the same as ``spi``."""

import sys

from spi_plugins.cli.dispatch import main

if __name__ == "__main__":
    sys.exit(main())
