"""Costs in ``info["episode"]``, and ends of episodes that only an outer wrapper sees."""

import time
from typing import Any

import gymnasium as gym
from stable_baselines3.common.env_util import unwrap_wrapper
from stable_baselines3.common.monitor import Monitor

from spi_plugins.algorithms.vec_envs.vector_infos import as_number
from spi_plugins.types import COST_KEY


class EpisodeReport(gym.Wrapper[Any, Any, Any, Any]):
    """Completes ``info["episode"]`` of the ``Monitor`` inside: adds the cost ``"c"`` where the environment has costs.

    A wrapper between the two may end an episode that goes on for the monitor, such as ``TimeLimit`` or
    ``CostLimit``. This reports the monitor's return then. Lost lives (Atari) are not ends.

    Args:
        env: an environment with a ``Monitor`` inside.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        monitor = unwrap_wrapper(env, Monitor)
        assert isinstance(monitor, Monitor)
        self._monitor = monitor
        self._start = time.time()
        self._cost, self._seen, self._over = 0.0, False, True

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; after a lost life the sums go on."""
        obs, info = self.env.reset(**kwargs)
        if self._over or not self._monitor.rewards:
            self._cost, self._over = 0.0, False
        return obs, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, and complete the report of an episode that ends."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        cost = as_number(info.get(COST_KEY))
        if cost is not None:
            self._cost, self._seen = self._cost + cost, True
        if terminated or truncated:
            episode = info.get("episode", {})
            if "r" not in episode and "lives" not in info:
                episode = {**self._report_of_monitor(), **episode}
            if "r" in episode:
                costs = {"c": round(self._cost, 6)} if self._seen else {}
                info["episode"] = {**costs, **episode}
                self._over = True
        return obs, reward, terminated, truncated, info

    def _report_of_monitor(self) -> dict[str, Any]:
        rewards = self._monitor.rewards
        elapsed = round(time.time() - self._start, 6)
        return {"r": round(sum(rewards), 6), "l": len(rewards), "t": elapsed}
