"""The constraint of an algorithm by its name, and the limits that environments state."""

from collections.abc import Mapping
from typing import Any

from stable_baselines3.common.vec_env import VecEnv

from spi_plugins import plugins
from spi_plugins.algorithms.vec_envs import FunctionalVecEnv
from spi_plugins.checks import check_number
from spi_plugins.constraints.method import ConstraintMethod
from spi_plugins.types import COST_KEY

LIMIT_KEY = "cost_limit"  # of ``env.metadata``
DEFAULT_LIMIT = 25.0  # OmniSafe's


def make_method(name: str, settings: Mapping[str, Any]) -> ConstraintMethod:
    """Make the method that is registered under a name.

    Raises:
        UnknownPluginError: there is none of this name.
        ValueError: a setting is unknown or out of range.
    """
    method: ConstraintMethod = plugins.resolve("constraints", name)(**settings)
    return method


def check_constraint(name: str | None, limit: Any, settings: Mapping[str, Any]) -> None:
    """Refuse settings that would be ignored, and a method that cannot be made.

    Raises:
        ValueError: names the argument.
    """
    if name is not None:
        make_method(name, settings)
        if isinstance(limit, Mapping) and not limit:
            raise ValueError("cost_limit must have a limit for at least one cost, got {}.")
        return
    for argument, value in (("cost_limit", limit), ("constraint_kwargs", settings or None)):
        if value is not None:
            raise ValueError(
                f"{argument}={value!r} needs a constraint, such as constraint='lagrangian'; the names are those of "
                "spi_plugins.list_constraints()."
            )


def episode_limits(limit: float | Mapping[str, float] | None, env: VecEnv | None) -> dict[str, float]:
    """Limits of an episode's costs by name: those given, those that the environment states, or 25."""
    given = stated_limit(env) if limit is None else limit
    if given is None:
        given = DEFAULT_LIMIT
    limits = dict(given) if isinstance(given, Mapping) else {COST_KEY: given}
    for name, value in limits.items():
        check_number(f"the environment's metadata[{LIMIT_KEY!r}] for {name!r}", value, low=0)
    return {name: float(value) for name, value in limits.items()}


def stated_limit(env: VecEnv | None) -> float | Mapping[str, float] | None:
    """``metadata["cost_limit"]`` of an environment, or the field of a functional one; ``None`` without either."""
    if env is None:
        return None
    if isinstance(env.unwrapped, FunctionalVecEnv):
        return env.unwrapped.functional.cost_limit
    metadata: Any = getattr(env.unwrapped, "metadata", None) or {}
    if LIMIT_KEY not in metadata:
        try:
            metadata = env.get_attr("metadata", 0)[0]
        except (AttributeError, NotImplementedError):
            return None
    stated: float | Mapping[str, float] | None = (metadata or {}).get(LIMIT_KEY)
    return stated
