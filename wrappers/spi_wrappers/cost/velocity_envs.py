"""The Safety-Velocity tasks as Gymnasium ids, on Gymnasium's own MuJoCo v5 environments."""

import functools
import importlib
import importlib.util
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import WrapperSpec
from gymnasium.error import DependencyNotInstalled

_ROBOTS: dict[str, str] = importlib.import_module("spi_integrations.tasks").VELOCITY_ROBOTS

#: Id of each robot's task, ``"spi/VelocityHopper-v0"`` and so on.
VELOCITY_IDS = {robot: f"spi/Velocity{robot}-v0" for robot in _ROBOTS}


def make_robot(robot: str, **kwargs: Any) -> gym.Env[Any, Any]:
    """Make Gymnasium's environment of a robot, such as ``"HalfCheetah"``, without time limit and cost.

    Raises:
        DependencyNotInstalled: MuJoCo, or what else Gymnasium needs for it, is not installed.
        ValueError: the robot is unknown.
    """
    if robot not in _ROBOTS:
        raise ValueError(f"robot must be one of {[*_ROBOTS]}, got {robot!r}.")
    missing = [name for name in ("mujoco", "imageio", "packaging") if importlib.util.find_spec(name) is None]
    if missing:
        raise DependencyNotInstalled(
            f'{VELOCITY_IDS[robot]} needs {" and ".join(missing)}: pip install "spi-plugins[mujoco]".'
        )
    module = importlib.import_module(f"gymnasium.envs.mujoco.{_ROBOTS[robot]}_v5")
    env: gym.Env[Any, Any] = getattr(module, f"{robot}Env")(**kwargs)
    return env


def make_velocity_env(robot: str, **kwargs: Any) -> gym.Env[Any, Any]:
    """Make a robot's task: episodes of 1000 steps, and a cost of 1 above its threshold (``VelocityCost``)."""
    return gym.make(VELOCITY_IDS[robot], **kwargs)


#: The arguments of ``gymnasium.register``, by id.
VELOCITY_SPECS: dict[str, dict[str, Any]] = {
    env_id: {
        "entry_point": f"{__name__}:make_robot",
        "max_episode_steps": 1000,
        "kwargs": {"robot": robot},
        "additional_wrappers": (
            WrapperSpec("VelocityCost", "spi_wrappers.cost.velocity:VelocityCost", kwargs={}),
        ),
    }
    for robot, env_id in VELOCITY_IDS.items()
}

half_cheetah = functools.partial(make_velocity_env, "HalfCheetah")
hopper = functools.partial(make_velocity_env, "Hopper")
walker2d = functools.partial(make_velocity_env, "Walker2d")
ant = functools.partial(make_velocity_env, "Ant")
humanoid = functools.partial(make_velocity_env, "Humanoid")
swimmer = functools.partial(make_velocity_env, "Swimmer")
