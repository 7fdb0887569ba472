"""safety-gymnasium 1.0.0 beside today's Gymnasium, NumPy and MuJoCo: five values, and ``info["cost"]``.

>>> import gymnasium, spi_plugins
>>> env = gymnasium.make("spi/SafetyPointGoal1-v0")  # doctest: +SKIP

The package is an extra with a second step, because safety-gymnasium 1.0.0 pins a Gymnasium of 2023::

    pip install "spi-plugins[safety]"
    pip install --no-deps safety-gymnasium==1.0.0

Importing this module registers the ids and loads neither safety-gymnasium nor MuJoCo; the first environment
does. Its tasks, robots and their physics are used as they are. What is not used is what today's packages
cannot run: its registry, its wrappers, its vector environments and its multi-agent part.
"""

from typing import Any

import gymnasium as gym

from spi_integrations.safety_gymnasium import installation
from spi_wrappers.registration import SAFETY_TASKS, register_ids

__all__ = ["TASKS", "make_env"]

#: Name of each task, ``"SafetyPointGoal1-v0"`` and so on, and its time limit. Ids have ``spi/`` before it.
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
    (``hazards``, ``vases_contact``, ...), each 0 or 1 as well, so that the cost is their largest; and upstream's
    own keys (``cost_sum``, ``cost_hazards``, ``goal_met``, ...). At a reset the cost and its parts are 0.

    Args:
        task: a key of ``TASKS``.
        render_mode: ``"rgb_array"``, ``"depth_array"``, ``"human"`` or ``None``. Without a display, start Python
            with ``MUJOCO_GL=egl`` (or ``osmesa``) in its environment.
        textures: whether to load the textures, which takes most of the time of a reset; they change nothing
            but pictures. By default only if there are pictures: a render mode, or a vision task.
        fast: compute observations and costs with fewer calls into MuJoCo. Rewards and costs are the same bit
            for bit, observations up to rounding.
        **kwargs: upstream's: ``width`` and ``height`` of pictures in pixels, ``camera_name`` or ``camera_id``.

    Returns:
        The environment, without Gymnasium's wrappers. A pickled or copied one is made anew with the same
        arguments and must be reset.

    Raises:
        MissingDependencyError: an ``ImportError``; something is not installed, or of a version that cannot
            work; the message has the commands that mend it.
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
        raise ValueError(
            f"{task} has neither textures nor another way to be computed; leave out textures and fast."
        )
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
