"""safety-gymnasium 1.0.0 with current Gymnasium, NumPy and MuJoCo: five values, and ``info["cost"]``.

>>> import gymnasium, spi_plugins
>>> env = gymnasium.make("spi/SafetyPointGoal1-v0")  # doctest: +SKIP

Installing the extra takes a second step, because safety-gymnasium 1.0.0 pins a Gymnasium of 2023::

    pip install "spi-plugins[safety]"
    pip install --no-deps safety-gymnasium==1.0.0

Importing this module registers the ids; safety-gymnasium and MuJoCo are only loaded with the first environment.
Tasks, robots and physics are upstream's. The parts that current packages cannot run are not used: the registry,
the wrappers, the vector environments and the multi-agent part.
"""

from typing import Any

import gymnasium as gym

from spi_integrations.safety_gymnasium import installation
from spi_wrappers.registration import SAFETY_TASKS, register_ids

__all__ = ["TASKS", "make_env"]

#: The tasks, such as ``"SafetyPointGoal1-v0"``, and their time limits. Ids add ``spi/``.
TASKS = SAFETY_TASKS

_RENDER_MODES = ("human", "rgb_array", "depth_array")


def make_env(
    task: str,
    *,
    render_mode: str | None = None,
    textures: bool | None = None,
    fast: bool = True,
    **kwargs: Any,
) -> gym.Env[Any, Any]:
    """Make one of safety-gymnasium's tasks; ``gymnasium.make("spi/" + task)`` does, with a time limit.

    ``info`` has ``cost``, upstream's cost of the step, 0 or 1; ``cost_terms``, its parts by name
    (``hazards``, ``vases_contact``, ...), each 0 or 1, so that the cost is the largest of them; and upstream's
    keys (``cost_sum``, ``cost_hazards``, ``goal_met``, ...). At a reset the cost and its parts are 0.

    Args:
        task: a key of ``TASKS``.
        render_mode: ``"rgb_array"``, ``"depth_array"``, ``"human"`` or ``None``. Without a display, start Python
            with ``MUJOCO_GL=egl`` (or ``osmesa``) in its environment.
        textures: whether to load the textures, which takes most of the time of a reset; they only change
            pictures. By default only with a render mode or for a vision task.
        fast: compute observations and costs with fewer calls into MuJoCo. Rewards and costs are the same bit
            for bit, observations up to rounding.
        **kwargs: upstream's: ``width`` and ``height`` of pictures in pixels, ``camera_name`` or ``camera_id``.

    Returns:
        The environment, without Gymnasium's wrappers. Pickling or copying makes a new one with the same
        arguments, which must be reset.

    Raises:
        MissingDependencyError: an ``ImportError``; a package is missing or of an unsuitable version. The message
            has the commands that fix it.
        ValueError: the task or the render mode is unknown; or ``textures`` or ``fast`` is given for a velocity
            task, which has neither.
    """
    if task not in TASKS:
        raise ValueError(
            f"task must be one of {len(TASKS)} names such as 'SafetyPointGoal1-v0', got {task!r}."
        )
    if render_mode not in (None, *_RENDER_MODES):
        raise ValueError(f"render_mode must be None or one of {_RENDER_MODES}, got {render_mode!r}.")
    if "Velocity" in task and (textures is not None or not fast):
        raise ValueError(f"textures and fast are for navigation tasks; leave them out for {task}.")
    installation.check(task)
    if "Velocity" in task:
        from spi_integrations.safety_gymnasium.velocity import make_velocity_env

        env: gym.Env[Any, Any] = make_velocity_env(task, render_mode=render_mode, **kwargs)
    else:
        from spi_integrations.safety_gymnasium.navigation import NavigationEnv

        env = NavigationEnv(task, render_mode=render_mode, textures=textures, fast=fast, **kwargs)
    return env


# Gymnasium reads the render modes here before it calls the function.
make_env.metadata = {"render_modes": [*_RENDER_MODES]}  # type: ignore[attr-defined]

register_ids()
