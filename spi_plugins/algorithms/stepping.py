"""One step of any ``VecEnv`` in either autoreset mode, in the dtypes of the device."""

from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from spi_plugins.algorithms.vec_envs import NativeVecEnv
from spi_plugins.algorithms.vec_envs.native import put_rows
from spi_plugins.algorithms.vec_envs.vector_infos import Infos
from spi_plugins.algorithms.vec_envs.workers import NamingDeadWorkers
from spi_plugins.checks import check_finite
from spi_plugins.spaces import to_device
from spi_plugins.types import Observation


class Stepped(NamedTuple):
    """A step of ``B`` environments."""

    raw_obs: Observation  # as the environment returned it
    next_obs: Observation  # the same in the device's dtypes: what the next decision sees
    reward: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    valid: NDArray[np.bool_]  # false on the row of a next-step autoreset, which is not a transition
    restarted: NDArray[np.bool_]  # ``next_obs`` begins a new episode already
    infos: Infos

    @property
    def done(self) -> NDArray[np.bool_]:
        """Where an episode ended."""
        return self.terminated | self.truncated

    def reached(self, space: Any) -> Observation:
        """The observations that the actions led to: the last one of each episode that ended."""
        if not self.restarted.any():
            return self.next_obs
        obs = jax.tree.map(np.array, self.next_obs)
        for i in np.flatnonzero(self.restarted):
            put_rows(obs, i, to_device(space, self.infos[i]["terminal_observation"]))
        return obs


def has_reset_rows(env: VecEnv) -> bool:
    """Whether the environment resets itself in the step after an episode's end."""
    return isinstance(env, NativeVecEnv) and env.has_reset_rows


def advance(env: VecEnv, actions: NDArray[Any], *, reset_rows: bool = False) -> Stepped:
    """Step all environments.

    Args:
        env: the environments.
        actions: ``[B, ...]``, in the action space.
        reset_rows: let environments reset themselves in the next step; requires ``has_reset_rows(env)``.

    Raises:
        WorkerDiedError: a process of a vector environment is gone.
    """
    truncated = np.zeros(env.num_envs, bool)
    if reset_rows:
        assert isinstance(env, NativeVecEnv)
        with NamingDeadWorkers(env):
            obs, reward, terminated, truncated, valid, infos = env.step_rows(actions)
        restarted = np.zeros(env.num_envs, bool)
    else:
        with NamingDeadWorkers(env):
            obs, reward, dones, infos = env.step(actions)
        if not isinstance(env, NativeVecEnv):
            # Some environments write their next step into these arrays, which JAX may not have read by then.
            obs = np.array(obs) if isinstance(obs, np.ndarray) else jax.tree.map(np.array, obs)
            reward = np.array(reward)
        restarted = np.array(dones, bool)
        if restarted.any():
            for i in np.flatnonzero(restarted):
                truncated[i] = infos[i].get("TimeLimit.truncated", False)
        terminated, valid = restarted & ~truncated, np.ones(env.num_envs, bool)
    next_obs = to_device(env.observation_space, obs)
    reward = np.asarray(reward, np.float32)
    return Stepped(obs, next_obs, reward, terminated, truncated, valid, restarted, infos)


def check_observations(obs: Observation, num_timesteps: int, which: str = "observation") -> None:
    """Refuse observations that are not finite, naming environment and time step."""
    for key, value in obs.items() if isinstance(obs, dict) else [("", obs)]:
        check_finite(f"at time step {num_timesteps}: the {which}{f'[{key!r}]' if key else ''}", value)


def check_step(stepped: Stepped, reached: Observation, num_timesteps: int) -> None:
    """Refuse a step whose observations, those before a reset included, or rewards are not finite."""
    if reached is not stepped.next_obs:
        check_observations(reached, num_timesteps, "terminal observation")
    check_observations(stepped.next_obs, num_timesteps)
    check_finite(f"at time step {num_timesteps}: the reward", stepped.reward)
