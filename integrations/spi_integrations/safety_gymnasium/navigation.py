"""safety-gymnasium's navigation tasks as Gymnasium environments with a cost in the info."""

import functools
import re
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.mujoco.mujoco_rendering import OffScreenViewer

from spi_integrations.safety_gymnasium import upstream
from spi_integrations.safety_gymnasium.fast import FastTask
from spi_integrations.safety_gymnasium.pictures import opengl_errors
from spi_integrations.safety_gymnasium.robots import robot_class
from spi_wrappers.registration import SAFETY_ROBOTS


class NavigationTask(upstream.BaseTask):  # type: ignore[misc]
    """Changes to all tasks; a mixin before upstream's class, see ``task_class``."""

    fast = False
    textures = True

    def _build_agent(self, agent_name: str) -> None:
        self.agent = robot_class(agent_name, self.fast)(random_generator=self.random_generator)

    def _build(self) -> None:
        with upstream.worlds_with_textures(self.textures):
            super()._build()

    def _get_viewer(self, mode: str) -> Any:
        """The viewer of a render mode, made for the first picture."""
        if mode != "human" and mode not in self._viewers:
            size = self.model.vis.global_
            with opengl_errors():
                viewer = OffScreenViewer(self.model, self.data, size.offwidth, size.offheight)
            self._viewers[mode] = viewer
        return super()._get_viewer(mode)

    def _obs_vision(self) -> Any:
        return np.ascontiguousarray(super()._obs_vision())


class FastNavigationTask(FastTask, NavigationTask):
    """``NavigationTask`` with fewer calls into MuJoCo."""

    fast = True


@functools.cache
def task_class(name: str, fast: bool, textures: bool) -> type[Any]:
    """Upstream's class of a task, such as ``"GoalLevel1"``, with our changes.

    The name is kept, because upstream uses it to find the task's walls.
    """
    base = FastNavigationTask if fast else NavigationTask
    return type(name, (base, getattr(upstream.tasks, name)), {"textures": textures})


class NavigationEnv(upstream.Builder):  # type: ignore[misc]
    """One of safety-gymnasium's navigation tasks, with the arguments of ``make_env``.

    A seed leads to the same layout as in upstream's environment.
    """

    def __init__(
        self, task: str, *, render_mode: str | None, textures: bool | None, fast: bool, **kwargs: Any
    ) -> None:
        self._arguments = {"render_mode": render_mode, "textures": textures, "fast": fast, **kwargs}
        vision = "Vision" in task
        self._name = task
        self._fast = fast
        self._textures = (render_mode is not None or vision) if textures is None else textures
        super().__init__(task.replace("Vision", ""), _config(task, vision), render_mode, **kwargs)

    def _get_task(self) -> Any:
        name = upstream.class_name_of(self.task_id)
        task = task_class(name, self._fast, self._textures)(config=self.config)
        task.build_observation_space()
        return task

    def set_seed(self, seed: int | None = None) -> None:
        """Seed the layouts; by default from the operating system, so that forked processes differ."""
        if seed is not None and not 0 <= seed < 2**32:
            raise ValueError(f"seed must be at least 0 and below 2**32, got {seed}.")
        super().set_seed(int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Draw a new layout."""
        gym.Env.reset(self, seed=seed)
        observation, info = super().reset(seed=seed, options=options)
        return observation, {**info, "cost": 0.0, "cost_terms": self._terms(self.cost)}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Act; ``make_env`` describes the info."""
        if self.done:
            raise gym.error.ResetNeeded(f"{self._name}: call reset() before step(); the episode is over.")
        action = np.asarray(action, np.float64)
        observation, reward, cost, terminated, truncated, info = super().step(action)
        info["cost"] = float(cost)
        info["cost_terms"] = self._terms(info)
        return observation, float(reward), bool(terminated), bool(truncated), info

    def _terms(self, costs: dict[str, Any]) -> dict[str, float]:
        """The parts of the cost, including buttons, which upstream omits in steps in which they are off."""
        terms = {
            key.removeprefix("cost_"): float(value)
            for key, value in costs.items()
            if key.startswith("cost_") and key != "cost_sum"
        }
        buttons = getattr(self.task, "buttons", None)
        if buttons is not None and buttons.is_constrained:
            terms.setdefault("buttons", 0.0)
        return terms

    def render(self) -> Any:
        """A picture, ``[height, width, 3]`` uint8, from the agent's camera by default."""
        picture = super().render()
        return None if picture is None else np.ascontiguousarray(picture)

    def close(self) -> None:
        """Close the viewers."""
        for mode, viewer in self.task._viewers.items():
            # Closing a viewer without a window would shut down GLFW for all others.
            viewer.close() if mode == "human" else viewer.free()
        self.task._viewers.clear()
        self.task.viewer = None

    def __reduce__(self) -> Any:
        return functools.partial(NavigationEnv, self._name, **self._arguments), ()


def _config(task: str, vision: bool) -> dict[str, Any]:
    """Upstream's configuration of a task."""
    robot = re.match(rf"Safety({'|'.join(SAFETY_ROBOTS)})", task)
    assert robot is not None, task
    config: dict[str, Any] = {"agent_name": robot[1]}
    if "Race" in task.removeprefix(f"Safety{robot[1]}"):
        config["floor_conf.type"] = "village"
    if vision:
        config.update(observe_vision=True, observation_flatten=False)
    return config
