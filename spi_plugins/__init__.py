"""Algorithms, plugin host and pure JAX cores for safe policy improvement.

Importing this package registers its Gymnasium ids and imports neither JAX nor torch; plugins and algorithms
are loaded on first use.
"""

import importlib
import inspect
from typing import TYPE_CHECKING, Any

import gymnasium

from spi_plugins import plugins as _plugins
from spi_plugins.dreams.ids import register_dream, register_remembered_dreams
from spi_plugins.hookspecs import PLUGIN_API, hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable

    from stable_baselines3.common.base_class import BaseAlgorithm

    from spi_plugins.algorithms.cost_calibration import calibrate_costs
    from spi_plugins.algorithms.deep_spi import PPO, DeepMDP, DeepSPI
    from spi_plugins.algorithms.distill_plans import distill_plans
    from spi_plugins.algorithms.dream_spi import DreamSPI
    from spi_plugins.algorithms.fit_world_model import fit_world_model
    from spi_plugins.algorithms.joint_training import learn_together
    from spi_plugins.algorithms.planner_policy import PlannerPolicy
    from spi_plugins.algorithms.policy_export import export_policy
    from spi_plugins.algorithms.spowl import SPOWL, TDMPC2
    from spi_plugins.dreams.file import load_world_model
    from spi_plugins.dreams.opening import open_dream

__version__ = "0.1.0"

__all__ = [
    "PLUGIN_API",
    "PPO",
    "SPOWL",
    "TDMPC2",
    "DeepMDP",
    "DeepSPI",
    "DreamSPI",
    "PlannerPolicy",
    "__version__",
    "calibrate_costs",
    "distill_plans",
    "export_policy",
    "fit_world_model",
    "get_algorithm",
    "get_callback",
    "get_constraint",
    "get_planner",
    "get_world_model",
    "get_wrapper",
    "hookimpl",
    "learn_together",
    "list_algorithms",
    "list_constraints",
    "list_envs",
    "list_planners",
    "list_world_models",
    "list_wrappers",
    "load_world_model",
    "make",
    "make_env",
    "open_dream",
    "register_dream",
]

_LAZY = {
    "DeepMDP": "spi_plugins.algorithms.deep_spi",
    "DeepSPI": "spi_plugins.algorithms.deep_spi",
    "DreamSPI": "spi_plugins.algorithms.dream_spi",
    "PPO": "spi_plugins.algorithms.deep_spi",
    "PlannerPolicy": "spi_plugins.algorithms.planner_policy",
    "SPOWL": "spi_plugins.algorithms.spowl",
    "TDMPC2": "spi_plugins.algorithms.spowl",
    "calibrate_costs": "spi_plugins.algorithms.cost_calibration",
    "distill_plans": "spi_plugins.algorithms.distill_plans",
    "export_policy": "spi_plugins.algorithms.policy_export",
    "fit_world_model": "spi_plugins.algorithms.fit_world_model",
    "learn_together": "spi_plugins.algorithms.joint_training",
    "load_world_model": "spi_plugins.dreams.file",
    "open_dream": "spi_plugins.dreams.opening",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


def list_algorithms() -> list[str]:
    """Names of the registered algorithms, sorted."""
    return _plugins.list_names("algorithms")


def list_planners() -> list[str]:
    """Names of the registered planners, sorted."""
    return _plugins.list_names("planners")


def list_constraints() -> list[str]:
    """Names of the registered methods that keep costs below limits, sorted."""
    return _plugins.list_names("constraints")


def list_world_models() -> list[str]:
    """Names of the registered world models, sorted."""
    return _plugins.list_names("world_models")


def list_envs() -> list[str]:
    """Names of the registered environments, sorted; a family such as ``"envpool"`` by its prefix."""
    return _plugins.list_names("envs")


def list_wrappers() -> list[str]:
    """Names of the registered wrappers, sorted."""
    return _plugins.list_names("wrappers")


def get_algorithm(name: str) -> "type[BaseAlgorithm]":
    """The algorithm class registered under ``name``.

    Raises:
        UnknownPluginError: there is none; the message names the closest.
        DuplicatePluginError: several plugins claim the name.
        PluginLoadError: it cannot be imported; the message names its plugin.
        MissingDependencyError: it needs an optional package.
    """
    return _plugins.resolve("algorithms", name)  # type: ignore[return-value]


def get_planner(name: str) -> "Callable[..., Any]":
    """The planner factory registered under ``name``; raises as ``get_algorithm`` does."""
    return _plugins.resolve("planners", name)


def get_constraint(name: str) -> "Callable[..., Any]":
    """The factory of a constraint's method registered under ``name``; raises as ``get_algorithm`` does."""
    return _plugins.resolve("constraints", name)


def get_world_model(name: str) -> "Callable[..., Any]":
    """The world-model factory registered under ``name``; raises as ``get_algorithm`` does."""
    return _plugins.resolve("world_models", name)


def get_callback(name: str) -> "Callable[..., Any]":
    """The factory of the training callback registered under ``name``; raises as ``get_algorithm`` does."""
    return _plugins.resolve("callbacks", name)


def make(
    name: str, policy: Any = None, env: Any = None, *, preset: bool = False, **kwargs: Any
) -> "BaseAlgorithm":
    """Build a registered algorithm: ``make("deep_spi", "MlpPolicy", env)`` or ``make("ppo", env=id, preset=True)``.

    Args:
        name: the algorithm's registered name.
        policy: what the algorithm's constructor takes, usually ``"MlpPolicy"`` or ``"CnnPolicy"``.
        env: an environment that the algorithm accepts, or a Gymnasium id.
        preset: take settings, copies and normalization that are tuned for the id ``env`` (docs/presets.md), except
            for those given here; ``learn()`` without a number then takes the steps of the preset.
        **kwargs: hyperparameters.

    Raises:
        UnknownPluginError: the algorithm is unknown, or has no preset for the environment.
        PluginLoadError: it cannot be imported.
        TypeError: the policy is missing.
    """
    cls = get_algorithm(name)
    if not preset:
        required = inspect.signature(cls).parameters.get("policy")
        if policy is None and required is not None and required.default is required.empty:
            raise TypeError(
                f"make({name!r}) needs a policy: 'MlpPolicy' for vectors, 'CnnPolicy' for images, 'MultiInputPolicy' "
                "for dicts; or preset=True, which chooses it."
            )
        return cls(policy, env, **kwargs)
    tuned = importlib.import_module("spi_plugins.algorithms.tuned")
    return tuned.make_tuned(cls, name, policy, env, kwargs)  # type: ignore[no-any-return]


get_wrapper = _plugins.resolve_wrapper
make_env = _plugins.make_env


def _register_gymnasium_ids() -> None:
    """Register functional environments and safety-gymnasium's tasks with Gymnasium, which discovers nothing itself.

    Only strings are registered, so nothing is imported; ids that exist (a reload, or ``import spi_wrappers``) are left
    alone.
    """
    for name, spec in importlib.import_module("spi_integrations.tasks").gymnasium_specs().items():
        if name not in gymnasium.registry:
            gymnasium.register(id=name, **spec)


_register_gymnasium_ids()
register_remembered_dreams()
