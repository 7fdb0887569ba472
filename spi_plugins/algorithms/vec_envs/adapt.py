"""Any environment as a Stable-Baselines3 ``VecEnv``."""

from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv
from stable_baselines3.common.env_util import is_wrapped, make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv

from spi_plugins import plugins
from spi_plugins.algorithms.vec_envs.envpool_spec import is_envpool
from spi_plugins.algorithms.vec_envs.envpool_vec_env import EnvPoolVecEnv
from spi_plugins.algorithms.vec_envs.episode_report import EpisodeReport
from spi_plugins.algorithms.vec_envs.flat import flat_env, flat_vec_env
from spi_plugins.algorithms.vec_envs.functional import FunctionalVecEnv
from spi_plugins.algorithms.vec_envs.gymnasium_vector import GymVectorEnvAdapter
from spi_plugins.algorithms.vec_envs.last_observation import OneProcessVecEnv
from spi_plugins.algorithms.vec_envs.workers import ForkedVecEnv
from spi_plugins.checks import check_integer
from spi_plugins.envs.base import FunctionalEnv

_ALLOWED = (
    "a Stable-Baselines3 VecEnv, a Gymnasium VectorEnv, an EnvPool environment (env_type='gymnasium'), "
    "a FunctionalEnv, a Gymnasium Env, or the id of a registered Gymnasium environment"
)


def as_vec_env(env: Any, *, n_envs: int | None = None, for_step_rows: bool = False) -> VecEnv:
    """Turn an environment of any kind into a ``VecEnv`` with correct terminal observations.

    =====================================  ==================================================================
    given                                  result
    =====================================  ==================================================================
    ``VecEnv``                             itself
    EnvPool environment                    ``EnvPoolVecEnv``
    Gymnasium ``VectorEnv``                ``GymVectorEnvAdapter``
    ``FunctionalEnv``                      ``FunctionalVecEnv``
    Gymnasium ``Env``                      ``DummyVecEnv`` around it, with ``Monitor`` if it has none
    id, also ``"module:id"``               ``n_envs`` monitored copies in a ``DummyVecEnv``
    ``"gymnax:id"`` and the like           that of its ``FunctionalEnv``
    =====================================  ==================================================================

    Nested ``Dict`` and ``Tuple`` observations become a ``Dict`` of one level, with keys like ``"outer/inner"``; a
    ``VecEnv`` with such observations is wrapped. An environment may write all its observations into one array, except
    inside the worker processes of a ``SubprocVecEnv`` or an ``AsyncVectorEnv`` that resets itself in the same step.

    Stable-Baselines3 itself mistakes an EnvPool environment for a single one and fails later, in training.

    Args:
        env: the environment.
        n_envs: number of copies to make of an id or a ``FunctionalEnv``, 1 if ``None``. With the others,
            whose number is fixed, it must be that number or ``None``.
        for_step_rows: see ``GymVectorEnvAdapter``.

    Raises:
        TypeError: the object is none of these.
        EnvironmentNotSupportedError: a ``ValueError``; the environment's spaces or autoreset mode are not
            supported.
        ValueError: ``n_envs`` does not fit.
    """
    if n_envs is not None:
        check_integer("n_envs", n_envs, low=1)
    if isinstance(env, str) and plugins.is_functional_member(env):
        env = plugins.make_env(env)
    if isinstance(env, str):
        return make_vec_env(env, n_envs=n_envs or 1, wrapper_class=reporting, vec_env_cls=OneProcessVecEnv)
    if isinstance(env, FunctionalEnv):
        return FunctionalVecEnv(env, n_envs or 1)
    vec_env = _wrap(env, for_step_rows)
    if n_envs not in (None, vec_env.num_envs):
        raise ValueError(
            f"n_envs={n_envs} does not fit an environment with {vec_env.num_envs} copies; "
            "n_envs makes copies of ids and functional environments only."
        )
    return vec_env


def reporting(monitored: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """A monitored environment with flat observations and complete reports of its episodes."""
    return EpisodeReport(flat_env(monitored))


def _wrap(env: Any, for_step_rows: bool) -> VecEnv:
    if isinstance(env, VecEnv):
        for kind in (OneProcessVecEnv, ForkedVecEnv):
            kind.adopt(env.unwrapped)
        return flat_vec_env(env)
    # Before the others: EnvPool's classes are both VectorEnv and Env, or neither.
    if is_envpool(env):
        return EnvPoolVecEnv(env)
    if isinstance(env, VectorEnv):
        return GymVectorEnvAdapter(env, for_step_rows=for_step_rows)
    if isinstance(env, gym.Env):
        if is_envpool(env.unwrapped):
            raise TypeError(
                f"{type(env).__name__} is a wrapper for one environment around an EnvPool environment, which "
                "is many. Give the EnvPool environment itself, or use a wrapper of gymnasium.wrappers.vector."
            )
        reported = reporting(env if is_wrapped(env, Monitor) else Monitor(env))
        return OneProcessVecEnv([lambda: reported])
    raise TypeError(f"env must be {_ALLOWED}; got {type(env).__module__}.{type(env).__qualname__}.")
