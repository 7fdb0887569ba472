"""Environments registered by plugins, functional or Gymnasium's, as ``gymnasium.make`` needs them."""

from typing import Any

import gymnasium
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from spi_plugins import plugins
from spi_plugins.envs.base import FunctionalEnv
from spi_wrappers.functional.gym_env import FunctionalGymEnv
from spi_wrappers.functional.vector_env import FunctionalVectorEnv


def make_registered(env: str, render_mode: str | None = None, **env_kwargs: Any) -> gymnasium.Env[Any, Any]:
    """Make one environment by its registered name; ``env_kwargs`` are for the plugin's factory."""
    if isinstance(plugins.make_env(env, **env_kwargs), FunctionalEnv):
        return FunctionalGymEnv(env, render_mode, **env_kwargs)
    rendering = {} if render_mode is None else {"render_mode": render_mode}
    made: gymnasium.Env[Any, Any] = plugins.make_env(env, **rendering, **env_kwargs)
    return made


def make_registered_vec(
    env: str,
    num_envs: int,
    *,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    render_mode: str | None = None,
    **env_kwargs: Any,
) -> VectorEnv[Any, Any, Any]:
    """Make a vector environment by its registered name: one program of functional ones, a ``SyncVectorEnv`` of others.

    ``env_kwargs`` are for the plugin's factory.
    """
    if isinstance(plugins.make_env(env, **env_kwargs), FunctionalEnv):
        return FunctionalVectorEnv(
            num_envs, env, autoreset_mode=autoreset_mode, render_mode=render_mode, **env_kwargs
        )
    one = [lambda: make_registered(env, render_mode, **env_kwargs)] * num_envs
    return SyncVectorEnv(one, autoreset_mode=AutoresetMode(autoreset_mode))
