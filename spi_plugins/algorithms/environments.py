"""Any accepted environment as an open ``VecEnv`` with spaces that the networks can read."""

from typing import Any

from stable_baselines3.common.vec_env import VecEnv

from spi_plugins import plugins
from spi_plugins.algorithms.vec_envs import FunctionalVecEnv, as_vec_env
from spi_plugins.checks import check_integer
from spi_plugins.envs.base import FunctionalEnv
from spi_plugins.spaces import action_spec, observation_spec

_MOST_OF_AN_ID = 10_000
DEFAULT_COPIES = 128  # of a functional environment, as in the papers


def is_template(env: Any) -> bool:
    """Whether it can be copied: an id or a functional environment."""
    return isinstance(env, FunctionalEnv | str)


def prepare_env(env: Any, n_envs: int | None, seed: int | None) -> VecEnv:
    """Turn any accepted environment (see ``JaxAlgorithm``) into a ``VecEnv``.

    By default there are 128 copies of a functional environment, to which ``seed`` belongs, and one of an id.

    Raises:
        TypeError: it is not an environment.
        ValueError: it is closed, has spaces that no network can read, or ``n_envs`` does not fit.
    """
    if n_envs is not None:
        check_integer("n_envs", n_envs, low=1, high=2**20)
        if isinstance(env, str) and n_envs > _MOST_OF_AN_ID:
            raise ValueError(
                f"n_envs must be at most {_MOST_OF_AN_ID} for an id, got {n_envs}: each copy is an object in Python, "
                "and all are stepped one after the other."
            )
    if isinstance(env, str) and plugins.is_functional_member(env):
        env = plugins.make_env(env)
    if isinstance(env, FunctionalEnv):
        vec_env: VecEnv = FunctionalVecEnv(env, n_envs or DEFAULT_COPIES, seed=seed)
    else:
        vec_env = as_vec_env(env, n_envs=n_envs, for_step_rows=True)
    if is_closed(vec_env):
        raise ValueError(f"env is closed: {vec_env}. Make a new one.")
    observation_spec(vec_env.observation_space)
    action_spec(vec_env.action_space)
    return vec_env


def is_closed(env: Any) -> bool:
    """Whether ``close()`` was called on a vector environment or on what it wraps."""
    while env is not None:
        if getattr(env, "closed", False) is True or getattr(env, "_closed", False) is True:
            return True
        env = getattr(env, "venv", None) or getattr(env, "env", None)
    return False


def require_open(env: VecEnv | None) -> None:
    """Refuse to train without an environment, or on a closed one.

    Raises:
        ValueError: it is missing or closed; the message says what to do.
    """
    if env is None:
        raise ValueError(
            "env is missing: this model was made for prediction only. Give one with set_env(env)."
        )
    if is_closed(env):
        raise ValueError(f"env is closed: {env}. Give an open one with set_env(env).")
