"""Last observations of episodes, kept where an environment writes its next reset into the same array."""

import copy
from typing import Any

import gymnasium as gym
from stable_baselines3.common.vec_env import DummyVecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn


class LastObservation(gym.Wrapper[Any, Any, Any, Any]):
    """Copies the last observation of each episode."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, and copy the observation where the episode ends."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        return copy.deepcopy(obs) if terminated or truncated else obs, reward, terminated, truncated, info


class OneProcessVecEnv(DummyVecEnv):
    """A ``DummyVecEnv`` whose terminal observations outlive the reset that follows them."""

    @classmethod
    def adopt(cls, env: Any) -> None:
        """Make a user's ``DummyVecEnv`` one of these, in place, for other objects hold it."""
        if type(env) is DummyVecEnv:
            env.__class__ = cls

    def step_wait(self) -> VecEnvStepReturn:
        """Step all environments."""
        envs = self.envs
        self.envs = [LastObservation(env) for env in envs]
        try:
            return super().step_wait()
        finally:
            self.envs = envs
