"""The model file: SB3's zip with JSON and plain arrays in place of pickles.

Entries: ``data`` (JSON), ``state.npz`` (arrays by path), ``_stable_baselines3_version`` and ``system_info.txt``.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import stable_baselines3
from stable_baselines3.common.utils import get_system_info

from spi_plugins.archive import Archive, Format, PathOrFile, read_archive, write_archive

FORMAT_VERSION = 1
_OTHERWISE = (
    "Files of stable-baselines3 and SBX hold pickles and other networks and cannot be loaded here; load a world model "
    "with spi_plugins.load_world_model."
)
_FORMAT = Format("spi-plugins", FORMAT_VERSION, "model", _OTHERWISE, finite=("parameters/",))


def write_model_file(
    target: PathOrFile, data: Mapping[str, Any], arrays: Mapping[str, np.ndarray[Any, Any]]
) -> None:
    """Write a model to a path (atomically, creating missing folders) or into an open binary file."""
    texts = {
        "_stable_baselines3_version": stable_baselines3.__version__,
        "system_info.txt": get_system_info(print_info=False)[1],
    }
    write_archive(target, _FORMAT, data, arrays, texts)


def read_model_file(source: PathOrFile) -> Archive:
    """Read a model file.

    Raises:
        FileNotFoundError: the file does not exist.
        ModelFileError: the file is damaged, not a model of this project, or from a newer version.
    """
    return read_archive(source, _FORMAT)
