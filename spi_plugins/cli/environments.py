"""Environments by name: registered ones, families such as EnvPool's, and whatever Gymnasium knows."""

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.vec_env import VecEnv

from spi_plugins import plugins
from spi_plugins.algorithms.vec_envs import FunctionalVecEnv, as_vec_env
from spi_plugins.algorithms.vec_envs.flat import flat_env
from spi_plugins.cli.arguments import CommandError
from spi_plugins.cli.env_names import find_source
from spi_plugins.envs.base import FunctionalEnv
from spi_plugins.errors import SPIError
from spi_plugins.plugins.registry import describe

# Copies of an environment unless --n-envs says otherwise: the papers' number where copies are cheap.
BATCHED_COPIES = 128
SINGLE_COPIES = 8


def build_env(name: str, *, n_envs: int | None, seed: int, env_kwargs: Mapping[str, Any]) -> VecEnv:
    """Make copies of an environment, by default 8 of a Gymnasium environment and 128 of others.

    Raises:
        UnknownPluginError: there is no such environment.
        CommandError: it cannot be made.
    """
    source = find_source(name)
    try:
        if source == "family":
            return as_vec_env(
                plugins.make_env(name, num_envs=n_envs or BATCHED_COPIES, seed=seed, **env_kwargs)
            )
        if source == "gymnasium":
            return make_vec_env(
                name,
                n_envs=n_envs or SINGLE_COPIES,
                seed=seed,
                env_kwargs=dict(env_kwargs),
                wrapper_class=flat_env,
            )
        first = plugins.make_env(name, **env_kwargs)
        if isinstance(first, FunctionalEnv):
            return FunctionalVecEnv(first, n_envs or BATCHED_COPIES, seed=seed)
        copies = _copies(name, first, env_kwargs)
        return make_vec_env(copies, n_envs=n_envs or SINGLE_COPIES, seed=seed, wrapper_class=flat_env)
    except (SPIError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a plugin's factory may even call sys.exit
        owner = "" if source == "gymnasium" else f" of {plugins.find_env(name)[0].owner}"
        raise CommandError(f"The environment {name!r}{owner} cannot be made: {describe(error)}") from error


def default_policy(vec_env: VecEnv) -> str:
    """``CnnPolicy`` for images, ``MultiInputPolicy`` for dicts, ``MlpPolicy`` for all else."""
    space = vec_env.observation_space
    if isinstance(space, gymnasium.spaces.Dict):
        return "MultiInputPolicy"
    return "CnnPolicy" if is_image_space(space, check_channels=False) else "MlpPolicy"


def _copies(
    name: str, first: gymnasium.Env[Any, Any], env_kwargs: Mapping[str, Any]
) -> Callable[[], gymnasium.Env[Any, Any]]:
    """A factory that returns ``first``, which was made to see what kind it is, before it makes others."""
    ready = [first]
    return lambda: ready.pop() if ready else plugins.make_env(name, **env_kwargs)
