"""The built-in environments as plain strings: names, entry points and time limits.

Two registries read these tables: the plugin host's (``spi_plugins.builtins``) and Gymnasium's
(``spi_wrappers.registration``). Neither package imports the other, and this one may import both, so they load this
module by its name. It imports nothing but strings.
"""

from typing import Any

from spi_integrations.jax_families import JAX_FAMILIES, gymnasium_name

#: The functional environments by id: their module in ``spi_plugins.envs``, and a line about them.
FUNCTIONAL = {
    "spi/CartPole-v0": ("cartpole", "CartPole in JAX"),
    "spi/PixelGoal-v0": ("pixel_goal", "Reach a goal, from pixels"),
    "spi/CostCartPole-v0": ("cost_cartpole", "CartPole with a cost far from the middle"),
    "spi/PointGoal-v0": ("point_goal", "Drive from goal to goal past hazards that cost"),
    "spi/ConfoundingGrid-v0": ("confounding_grid", "Two look-alike corridors, the toy task of Deep SPI"),
}

#: MuJoCo's robots of the Safety-Velocity tasks, and their module in ``gymnasium.envs.mujoco`` without its version.
VELOCITY_ROBOTS = {
    "HalfCheetah": "half_cheetah",
    "Hopper": "hopper",
    "Walker2d": "walker2d",
    "Ant": "ant",
    "Humanoid": "humanoid",
    "Swimmer": "swimmer",
}

#: safety-gymnasium's robots for navigation.
SAFETY_ROBOTS = ("Point", "Car", "Doggo", "Racecar", "Ant")

_STEPS = {
    **dict.fromkeys(("Goal", "Button", "Push", "FadingEasy", "FadingHard"), 1000),
    **dict.fromkeys(("Circle", "Race"), 500),
}
_LEVELS = {f"{task}{level}": steps for task, steps in _STEPS.items() for level in range(3)} | {"Run0": 500}

#: safety-gymnasium's tasks and their time limits: 110 navigate by numbers, 110 by pictures, 12 limit a velocity.
SAFETY_TASKS: dict[str, int] = {
    **{f"Safety{robot}{task}-v0": steps for robot in SAFETY_ROBOTS for task, steps in _LEVELS.items()},
    **{f"Safety{robot}{task}Vision-v0": steps for robot in SAFETY_ROBOTS for task, steps in _LEVELS.items()},
    **{f"Safety{robot}Velocity-v{version}": 1000 for robot in VELOCITY_ROBOTS for version in (0, 1)},
}


def gymnasium_specs() -> dict[str, dict[str, Any]]:
    """The arguments of ``gymnasium.register`` for functional environments and safety-gymnasium's tasks, by id."""
    names = {name: name for name in FUNCTIONAL} | {
        gymnasium_name(family, each): f"{family}:{each}"
        for family, (_, ids) in JAX_FAMILIES.items()
        for each in ids
    }
    functional = {
        name: {
            "entry_point": "spi_wrappers.functional:FunctionalGymEnv",
            "vector_entry_point": "spi_wrappers.functional:FunctionalVectorEnv",
            "kwargs": {"env": registered},
        }
        for name, registered in names.items()
    }
    safety = {
        f"spi/{task}": {
            "entry_point": "spi_integrations.safety_gymnasium:make_env",
            "max_episode_steps": steps,
            "kwargs": {"task": task},
        }
        for task, steps in SAFETY_TASKS.items()
    }
    return functional | safety
