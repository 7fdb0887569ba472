"""The parts of safety-gymnasium in use, imported without its ``__init__``, which current Gymnasium cannot run.

An empty package with the same path replaces it, so that its modules can import each other. Two of their attributes
are replaced: the colors, whose arrays dataclasses refuse as defaults since Python 3.11, and the reader of
configuration files, which can leave out textures.
"""

import contextlib
import copy
import functools
import importlib
import importlib.util
import pathlib
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from types import ModuleType, SimpleNamespace
from typing import Any, TextIO

import numpy as np
import yaml

from spi_integrations.safety_gymnasium.installation import COMMANDS
from spi_plugins.errors import MissingDependencyError

_PACKAGE = "safety_gymnasium"
_WITH_TEXTURES: ContextVar[bool] = ContextVar("with_textures", default=True)
# Pictures need a sky. This one is 8 pixels wide instead of 3259.
_PLAIN_SKY = {"@type": "skybox", "@builtin": "flat", "@width": "8", "@height": "8", "@rgb1": "0.1 0.1 0.1"}
_GRAY = {"@type": "2d", "@builtin": "flat", "@width": "8", "@height": "8", "@rgb1": "0.5 0.5 0.5"}


class HashableColor(np.ndarray[Any, np.dtype[Any]]):
    """An array that can be the default of a dataclass field."""

    __hash__ = object.__hash__  # type: ignore[assignment]


@contextlib.contextmanager
def worlds_with_textures(wanted: bool) -> Iterator[None]:
    """Choose whether worlds that this thread builds have upstream's textures."""
    token = _WITH_TEXTURES.set(wanted)
    try:
        yield
    finally:
        _WITH_TEXTURES.reset(token)


def _stand_in() -> None:
    """Put the empty package into ``sys.modules``, unless the real one could be imported."""
    if _PACKAGE in sys.modules:
        return
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None:
        raise MissingDependencyError(f"safety-gymnasium is not installed:\n{COMMANDS}", name=_PACKAGE)
    module = importlib.util.module_from_spec(spec)
    module.__doc__ = "The modules of safety-gymnasium, without what its package does when it is imported."
    module.__getattr__ = _refuse  # type: ignore[method-assign]
    sys.modules[_PACKAGE] = module


def _refuse(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module {_PACKAGE!r} has no attribute {name!r}")
    raise AttributeError(
        f"safety_gymnasium.{name}: in this process spi_integrations.safety_gymnasium runs safety-gymnasium's tasks "
        'without its package, which current Gymnasium cannot import. Use gymnasium.make("spi/SafetyPointGoal1-v0").'
    )


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(f"{_PACKAGE}.{name}")
    except ImportError as error:
        raise MissingDependencyError(
            f"The installed safety-gymnasium cannot be imported ({error}). This works:{COMMANDS}",
            name=_PACKAGE,
        ) from error


@functools.cache
def _read(path: pathlib.Path, with_textures: bool) -> Any:
    """One of upstream's configuration files, with plain textures for those that are missing or not wanted."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.name != "assets.yaml":
        return content
    textures = content["textures"]
    if not with_textures:
        textures["skybox"] = _PLAIN_SKY
    for name, texture in textures.items():
        # The distribution lacks the pictures for Race and its bushes.
        file = path.parents[1] / "assets" / "textures" / texture.get("@file", "")
        if "@file" in texture and not (with_textures and file.exists()):
            textures[name] = {"@name": texture["@name"], **_GRAY}
    return content


def _load(stream: TextIO, **_: Any) -> Any:
    """Replaces ``yaml.load``, which upstream calls at every reset."""
    return copy.deepcopy(_read(pathlib.Path(stream.name), _WITH_TEXTURES.get()))


_stand_in()
_COLORS = _import("assets.color").COLOR
for _name, _value in _COLORS.items():
    _COLORS[_name] = _value.view(HashableColor)
for _module in ("world", "bases.base_task"):
    vars(_import(_module))["yaml"] = SimpleNamespace(load=_load, FullLoader=None)

Builder: Any = _import("builder").Builder
BaseTask: Any = _import("bases.base_task").BaseTask
BaseAgent: Any = _import("bases.base_agent").BaseAgent
underlying: Any = _import("bases.underlying")
agents: Any = _import("agents")
tasks: Any = _import("tasks")
class_name_of: Any = _import("utils.task_utils").get_task_class_name
rotation_of: Any = _import("utils.task_utils").quat2mat


def velocity_class(task: str) -> Any:
    """The class of a Safety-Velocity task, such as ``"SafetyHopperVelocity-v1"``."""
    robot, version = task.removeprefix("Safety").split("Velocity-")
    file = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in robot)
    module = _import(f"tasks.safe_velocity.safety{file}_velocity_{version}")
    return getattr(module, f"Safety{robot}VelocityEnv")
