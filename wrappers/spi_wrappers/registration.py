"""Gymnasium ids, as strings: registering them imports neither JAX nor torch nor any environment."""

import importlib
from typing import Any

import gymnasium

from spi_wrappers.cost.velocity_envs import VELOCITY_SPECS

_tasks: Any = importlib.import_module("spi_integrations.tasks")

#: The functional environments.
FUNCTIONAL_IDS: tuple[str, ...] = tuple(_tasks.FUNCTIONAL)

#: safety-gymnasium's robots for navigation, its tasks and their time limits.
SAFETY_ROBOTS: tuple[str, ...] = _tasks.SAFETY_ROBOTS
SAFETY_TASKS: dict[str, int] = _tasks.SAFETY_TASKS


def register_ids() -> None:
    """Register our ids with Gymnasium; those that exist (a reload, or ``import spi_plugins``) are left alone."""
    dream = {
        "entry_point": "spi_wrappers.dream:DreamEnv",
        "vector_entry_point": "spi_wrappers.dream:DreamVectorEnv",
    }
    for name, spec in {**_tasks.gymnasium_specs(), **VELOCITY_SPECS, "spi/Dream-v0": dream}.items():
        if name not in gymnasium.registry:
            gymnasium.register(id=name, **spec)
