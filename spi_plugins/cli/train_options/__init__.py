"""The options of ``spi train``, one module for each group of ``spi train --help``.

Each module has ``add``, which adds the group to a parser, and, where needed, ``check``, which refuses what is wrong
before anything that takes long is imported.
"""
