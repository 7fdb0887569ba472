"""One step of any ``VecEnv`` as learners store it: the state that was reached, and the one to act on next."""

from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from spi_plugins.algorithms.collectors import to_device
from spi_plugins.algorithms.vec_envs import NativeVecEnv
from spi_plugins.types import Observation

Infos = list[dict[str, Any]]


class Stepped(NamedTuple):
    """A step of all environments in either autoreset mode."""

    obs: Observation  # reached; the last one of an episode where it ended
    next_obs: Observation  # that the next decision sees
    reward: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    valid: NDArray[np.bool_]  # false on reset rows
    infos: Infos


def has_reset_rows(env: VecEnv) -> bool:
    """Whether an environment resets itself in the step after an episode's end, a row that is no transition."""
    return isinstance(env, NativeVecEnv) and env.has_reset_rows


def advance(env: VecEnv, actions: NDArray[Any], *, reset_rows: bool = False) -> Stepped:
    """Step all environments.

    Args:
        env: any; terminal observations are put where they were reached.
        actions: of the environment's action space, ``[B, ...]``.
        reset_rows: let the environment reset itself in the next step, where ``has_reset_rows`` says that it can.
    """
    space = env.observation_space
    if reset_rows:
        assert isinstance(env, NativeVecEnv)
        rows = env.step_rows(actions)
        return Stepped(to_device(space, rows.obs), rows.obs, *rows[1:])
    next_obs, rewards, dones, infos = env.step(actions)
    truncated = np.asarray([info.get("TimeLimit.truncated", False) for info in infos], bool) & dones
    obs = to_device(space, next_obs)
    if dones.any():
        obs = jax.tree.map(np.array, obs)
        for i in np.flatnonzero(dones):
            last = to_device(space, infos[i]["terminal_observation"])
            jax.tree.map(lambda rows, row, i=i: rows.__setitem__(i, row), obs, last)
    valid = np.ones(env.num_envs, bool)
    reward = np.asarray(rewards, np.float32)
    return Stepped(obs, next_obs, reward, dones & ~truncated, truncated, valid, infos)
