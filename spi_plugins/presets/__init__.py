"""Tuned settings for known environments: one YAML file for each algorithm, in the form of rl_zoo3's.

Reading them imports neither JAX nor torch. ``find`` is what ``spi train`` asks, ``get`` what ``spi_plugins.make`` does.
"""

from spi_plugins.presets.files import Preset, find, get, known, read

__all__ = ["Preset", "find", "get", "known", "read"]
