"""Stable-Baselines3: other libraries' vector environments for its algorithms, and for ours.

>>> import gymnasium as gym
>>> from spi_integrations.stable_baselines3 import as_vec_env
>>> env = as_vec_env(gym.make_vec("CartPole-v1", num_envs=4, vectorization_mode="sync"))
>>> env.num_envs
4

``as_vec_env`` takes Gymnasium's ``VectorEnv`` in each autoreset mode, EnvPool and functional environments.
The result is right about terminal observations and time limits, and reports the unclipped return of whole
episodes without a ``Monitor``.
"""

from spi_plugins.algorithms.vec_envs import (
    EnvPoolVecEnv,
    FunctionalVecEnv,
    GymVectorEnvAdapter,
    NativeVecEnv,
    Rows,
    as_vec_env,
)

__all__ = [
    "EnvPoolVecEnv",
    "FunctionalVecEnv",
    "GymVectorEnvAdapter",
    "NativeVecEnv",
    "Rows",
    "as_vec_env",
]
