"""The Safety-Velocity tasks of safety-gymnasium: Gymnasium's MuJoCo robots, version 4, with a speed limit."""

import functools
from typing import Any

import numpy as np

from spi_integrations.safety_gymnasium import upstream
from spi_integrations.safety_gymnasium.pictures import opengl_errors


class VelocityMixin:
    """Moves the cost from upstream's six values into the info; a mixin before upstream's class."""

    _name: str
    _arguments: dict[str, Any]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        observation, info = super().reset(seed=seed, options=options)  # type: ignore[misc]
        return observation, {**info, "cost": 0.0, "cost_terms": {"velocity": 0.0}}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Act; the cost is 1 above the speed limit."""
        observation, reward, cost, terminated, truncated, info = super().step(action)  # type: ignore[misc]
        info["cost"] = float(cost)
        info["cost_terms"] = {"velocity": float(cost)}
        return observation, float(reward), bool(terminated), bool(truncated), info

    def render(self) -> Any:
        """A picture, ``[height, width, 3]`` uint8."""
        with opengl_errors():
            picture = super().render()  # type: ignore[misc]
        return None if picture is None else np.ascontiguousarray(picture)

    def __reduce__(self) -> Any:
        return functools.partial(make_velocity_env, self._name, **self._arguments), ()


@functools.cache
def velocity_class(task: str) -> type[Any]:
    """Upstream's class of a task, returning five values."""
    base = upstream.velocity_class(task)
    return type(base.__name__, (VelocityMixin, base), {})


def make_velocity_env(task: str, **kwargs: Any) -> Any:
    """Make a Safety-Velocity task, such as ``"SafetyHopperVelocity-v1"``, with arguments of Gymnasium's environment."""
    env = velocity_class(task)(**kwargs)
    env._name, env._arguments = task, kwargs
    return env
