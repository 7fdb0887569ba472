"""Checks of the installed packages; errors name the command that fixes them."""

import importlib.metadata
import importlib.util
import re
import warnings

from spi_plugins.errors import MissingDependencyError

VERSION = "1.0.0"

#: The two commands that install everything.
COMMANDS = f"""
    pip install "spi-plugins[safety]"
    pip install --no-deps safety-gymnasium=={VERSION}"""

_NEEDED = ("mujoco", "xmltodict", "yaml", "imageio", "packaging")

# Earlier versions silently misread NumPy 2's arrays.
_MUJOCO_FOR_NUMPY_2 = (3, 1, 4)
# From this version on, Racecar drives about 1.4 times as far.
_MUJOCO_OF_RACECAR = (3, 15)


def check(task: str) -> None:
    """Refuse versions that cannot run a task (``MissingDependencyError``); warn about those that run differently."""
    if importlib.util.find_spec("safety_gymnasium") is None:
        raise MissingDependencyError(
            f"{task} needs safety-gymnasium {VERSION}, which is not installed. In this order:\n{COMMANDS}",
            name="safety_gymnasium",
        )
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f'{task} needs {" and ".join(missing)} in addition to safety-gymnasium: pip install "spi-plugins[safety]"',
            name=missing[0],
        )
    mujoco = _numbers("mujoco")
    if _numbers("numpy") >= (2,) and mujoco < _MUJOCO_FOR_NUMPY_2:
        raise MissingDependencyError(
            f"MuJoCo {importlib.metadata.version('mujoco')} silently corrupts NumPy 2's arrays: "
            'pip install "spi-plugins[safety]"',
            name="mujoco",
        )
    if "Racecar" in task and mujoco >= _MUJOCO_OF_RACECAR:
        warnings.warn(
            f"{task}: since MuJoCo 3.15 the Racecar drives about 1.4 times as far, so results are not comparable "
            'to published ones: pip install "mujoco<3.15"',
            UserWarning,
            stacklevel=3,
        )
    try:
        installed = importlib.metadata.version("safety-gymnasium")
    except importlib.metadata.PackageNotFoundError:  # a source tree on the path
        installed = "of unknown version"
    if installed != VERSION:
        warnings.warn(
            f"safety-gymnasium {installed} is untested. This version works: "
            f"pip install --no-deps safety-gymnasium=={VERSION}",
            UserWarning,
            stacklevel=3,
        )


def _numbers(package: str) -> tuple[int, ...]:
    """The first three numbers of an installed version."""
    return tuple(int(part) for part in re.findall(r"\d+", importlib.metadata.version(package))[:3])
