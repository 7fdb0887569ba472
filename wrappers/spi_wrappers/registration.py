"""Gymnasium ids, by strings only: registering imports neither JAX nor torch nor any environment."""

import gymnasium

from spi_wrappers.cost.velocity_envs import register_velocity_ids

#: The functional environments, under the names that ``spi_plugins`` knows them by.
FUNCTIONAL_IDS = (
    "spi/CartPole-v0",
    "spi/ConfoundingGrid-v0",
    "spi/CostCartPole-v0",
    "spi/PixelGoal-v0",
    "spi/PointGoal-v0",
)

#: The dream whose world model is the argument ``model``.
DREAM_ID = "spi/Dream-v0"

#: safety-gymnasium's robots for navigation.
SAFETY_ROBOTS = ("Point", "Car", "Doggo", "Racecar", "Ant")

_STEPS = {
    **dict.fromkeys(("Goal", "Button", "Push", "FadingEasy", "FadingHard"), 1000),
    **dict.fromkeys(("Circle", "Race"), 500),
}
_LEVELS = {f"{task}{level}": steps for task, steps in _STEPS.items() for level in range(3)} | {"Run0": 500}
_VELOCITY = ("HalfCheetah", "Hopper", "Swimmer", "Walker2d", "Ant", "Humanoid")

#: safety-gymnasium's tasks and their time limits: 110 to navigate by numbers, 110 by pictures, 12 of velocity.
SAFETY_TASKS: dict[str, int] = {
    **{f"Safety{robot}{task}-v0": steps for robot in SAFETY_ROBOTS for task, steps in _LEVELS.items()},
    **{f"Safety{robot}{task}Vision-v0": steps for robot in SAFETY_ROBOTS for task, steps in _LEVELS.items()},
    **{f"Safety{robot}Velocity-v{version}": 1000 for robot in _VELOCITY for version in (0, 1)},
}


def register_ids() -> None:
    """Register our ids with Gymnasium, which discovers nothing by itself.

    Ids that are there already (a reload, or ``import spi_plugins``) are left alone.
    """
    for name in FUNCTIONAL_IDS:
        if name not in gymnasium.registry:
            gymnasium.register(
                id=name,
                entry_point="spi_wrappers.functional:FunctionalGymEnv",
                vector_entry_point="spi_wrappers.functional:FunctionalVectorEnv",
                kwargs={"env": name},
            )
    if DREAM_ID not in gymnasium.registry:
        gymnasium.register(
            id=DREAM_ID,
            entry_point="spi_wrappers.dream:DreamEnv",
            vector_entry_point="spi_wrappers.dream:DreamVectorEnv",
        )
    register_velocity_ids()
    for task, steps in SAFETY_TASKS.items():
        if f"spi/{task}" not in gymnasium.registry:
            gymnasium.register(
                id=f"spi/{task}",
                entry_point="spi_integrations.safety_gymnasium:make_env",
                max_episode_steps=steps,
                kwargs={"task": task},
            )
