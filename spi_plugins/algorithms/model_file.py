"""The model file: SB3's zip with JSON and plain arrays, nothing that is unpickled.

Entries: ``data`` (JSON), ``state.npz`` (arrays by path), ``_stable_baselines3_version`` and ``system_info.txt``.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import stable_baselines3
from stable_baselines3.common.utils import get_system_info

from spi_plugins.archive import Archive, Format, PathOrFile, read_archive, write_archive

__all__ = ["FORMAT_VERSION", "ModelFile", "PathOrFile", "read_model_file", "write_model_file"]

FORMAT_VERSION = 1
_FORMAT = Format("spi-plugins", FORMAT_VERSION, "model")

ModelFile = Archive


def write_model_file(
    target: PathOrFile, data: Mapping[str, Any], arrays: Mapping[str, np.ndarray[Any, Any]]
) -> None:
    """Write a model to a path (atomically, missing folders are made) or into an open binary file."""
    texts = {
        "_stable_baselines3_version": stable_baselines3.__version__,
        "system_info.txt": get_system_info(print_info=False)[1],
    }
    write_archive(target, _FORMAT, data, arrays, texts)


def read_model_file(source: PathOrFile) -> ModelFile:
    """Read a model file.

    Raises:
        FileNotFoundError: there is no such file.
        ModelFileError: the file is damaged, is no model of this project, or comes from a newer version.
    """
    otherwise = (
        "Files of stable-baselines3 and SBX hold pickles and other networks, and cannot be loaded here; a world model "
        "is loaded by spi_plugins.load_world_model."
    )
    return read_archive(source, _FORMAT, otherwise=otherwise)
