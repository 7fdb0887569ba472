"""Environments with nested observations, seen with flat ones."""

from typing import Any

import gymnasium as gym
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from spi_plugins.errors import EnvironmentNotSupportedError
from spi_plugins.spaces import flat_observation, flat_space


class _FlatEnv(gym.ObservationWrapper[Any, Any, Any]):
    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.observation_space = flat_space(env.observation_space)

    def observation(self, observation: Any) -> Any:
        return flat_observation(observation)


class _FlatVecEnv(VecEnvWrapper):
    def __init__(self, venv: VecEnv) -> None:
        super().__init__(venv, observation_space=flat_space(venv.observation_space))

    def reset(self) -> VecEnvObs:
        obs: VecEnvObs = flat_observation(self.venv.reset())
        return obs

    def step_wait(self) -> VecEnvStepReturn:
        obs, rewards, dones, infos = self.venv.step_wait()
        for info in infos:
            if "terminal_observation" in info:
                info["terminal_observation"] = flat_observation(info["terminal_observation"])
        return flat_observation(obs), rewards, dones, infos


def flat_env(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """The environment, in a wrapper if its observations are nested or a ``Tuple``; see ``flat_space``.

    Raises:
        EnvironmentNotSupportedError: a part of the observation space is not supported; the message names the key.
    """
    return env if flat_space(env.observation_space) is env.observation_space else _FlatEnv(env)


def flat_vec_env(env: VecEnv) -> VecEnv:
    """``flat_env`` of a ``VecEnv``.

    Raises:
        EnvironmentNotSupportedError: a part of the observation space is not supported, or is nested, which a ``VecEnv``
            cannot batch.
    """
    space = env.observation_space
    if flat_space(space) is space:
        return env
    if not isinstance(space, spaces.Tuple) or any(isinstance(x, spaces.Dict | spaces.Tuple) for x in space):
        raise EnvironmentNotSupportedError(
            f"The observation space {space} of a VecEnv is nested. Give the environment or a Gymnasium VectorEnv, "
            "or flatten each copy with a wrapper."
        )
    return _FlatVecEnv(env)
