"""Other libraries' vector environments as Stable-Baselines3 ``VecEnv``, with correct terminal observations."""

from spi_plugins.algorithms.vec_envs.adapt import as_vec_env
from spi_plugins.algorithms.vec_envs.envpool_halves import EnvPoolHalves
from spi_plugins.algorithms.vec_envs.envpool_vec_env import EnvPoolVecEnv
from spi_plugins.algorithms.vec_envs.envpool_xla import XlaFunctions, XlaHandle, XlaRows
from spi_plugins.algorithms.vec_envs.episode_statistics import EpisodeStatistics
from spi_plugins.algorithms.vec_envs.functional import FunctionalVecEnv
from spi_plugins.algorithms.vec_envs.gymnasium_vector import GymVectorEnvAdapter
from spi_plugins.algorithms.vec_envs.native import NativeVecEnv, Rows

__all__ = [
    "EnvPoolHalves",
    "EnvPoolVecEnv",
    "EpisodeStatistics",
    "FunctionalVecEnv",
    "GymVectorEnvAdapter",
    "NativeVecEnv",
    "Rows",
    "XlaFunctions",
    "XlaHandle",
    "XlaRows",
    "as_vec_env",
]
