"""Copies of an environment that is known by its name, with wrappers around each."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.vec_env import VecEnv

from spi_plugins import plugins
from spi_plugins.algorithms.environments import DEFAULT_COPIES
from spi_plugins.algorithms.vec_envs import FunctionalVecEnv, as_vec_env
from spi_plugins.algorithms.vec_envs.flat import flat_env
from spi_plugins.envs.base import FunctionalEnv

# Copies of an environment that is stepped in Python; where copies are cheap there are DEFAULT_COPIES.
SINGLE_COPIES = 8

Wrappers = Sequence[tuple[str, Mapping[str, Any]]]


def make_copies(
    name: str,
    *,
    n_envs: int | None = None,
    seed: int | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    wrappers: Wrappers = (),
) -> VecEnv:
    """Make copies of an environment, by default 8 of a Gymnasium environment and 128 of others.

    Args:
        name: registered, of a family such as ``"envpool:Pong-v5"``, or a Gymnasium id.
        n_envs: the number of copies.
        seed: of their first episodes.
        env_kwargs: arguments of each copy.
        wrappers: around each copy, the first innermost: a registered name or ``"module:Class"``, and its arguments. A
            family's vector environment gets the wrapper's counterpart; a functional environment with wrappers is
            stepped in Python, as a Gymnasium environment.
    """
    kwargs = dict(env_kwargs or {})
    envs = plugins.registry("envs")
    prefix, colon, _ = name.partition(":")
    if colon and prefix in envs.names() and envs.peek(prefix).family:
        pool = plugins.make_env(name, num_envs=n_envs or DEFAULT_COPIES, seed=seed, **kwargs)
        return as_vec_env(_wrapped(pool, wrappers, vector=True))
    # Made to see what kind it is, and the first copy.
    first = plugins.make_env(name, **kwargs) if name in envs.names() else None
    if isinstance(first, FunctionalEnv) and not wrappers:
        return FunctionalVecEnv(first, n_envs or DEFAULT_COPIES, seed=seed)
    ready = [first]

    def copy() -> gymnasium.Env[Any, Any]:
        env: Any
        if first is None or isinstance(first, FunctionalEnv):
            env = _from_gymnasium(name, kwargs)
        else:
            env = ready.pop() if ready else plugins.make_env(name, **kwargs)
        # The monitor comes last, so that episodes end where wrappers end them.
        return flat_env(_wrapped(env, wrappers))

    return make_vec_env(copy, n_envs=n_envs or SINGLE_COPIES, seed=seed)


def default_policy(vec_env: VecEnv) -> str:
    """``CnnPolicy`` for images, ``MultiInputPolicy`` for dicts, ``MlpPolicy`` for all else."""
    space = vec_env.observation_space
    if isinstance(space, gymnasium.spaces.Dict):
        return "MultiInputPolicy"
    return "CnnPolicy" if is_image_space(space, check_channels=False) else "MlpPolicy"


def _from_gymnasium(name: str, kwargs: Mapping[str, Any]) -> gymnasium.Env[Any, Any]:
    """As SB3 makes one: it can be rendered if it has pictures at all."""
    try:
        return gymnasium.make(name, **{"render_mode": "rgb_array", **kwargs})
    except TypeError:
        return gymnasium.make(name, **kwargs)


def _wrapped(env: Any, wrappers: Wrappers, *, vector: bool = False) -> Any:
    for name, arguments in wrappers:
        module, colon, attribute = name.partition(":")
        if colon:
            env = getattr(importlib.import_module(module), attribute)(env, **arguments)
        else:
            env = plugins.resolve_wrapper(name, vector=vector)(env, **arguments)
    return env
