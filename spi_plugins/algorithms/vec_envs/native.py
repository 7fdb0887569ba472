"""Natively vectorized environments behind Stable-Baselines3's ``VecEnv`` interface.

The base class has what all adapters share: the same-step contract of ``step``, the raw rows of ``step_rows``,
episode statistics, and the record of which environments still have to be reset.
"""

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from spi_plugins.algorithms.vec_envs.episode_statistics import EpisodeStatistics
from spi_plugins.algorithms.vec_envs.vector_infos import Infos, costs_of
from spi_plugins.errors import EnvironmentNotSupportedError
from spi_plugins.spaces import flat_observation, flat_space
from spi_plugins.types import Observation

_SIMPLE = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


class Rows(NamedTuple):
    """One raw step of ``B`` environments with next-step autoreset (Gymnasium's ``AutoresetMode.NEXT_STEP``).

    Where an episode ended at the previous row, this row is its autoreset and not a transition: ``valid`` is
    false, the action was ignored, the reward is 0 and ``obs`` is the first observation of the new episode.
    Where an episode ends at this row, ``obs`` is its true last observation.
    """

    obs: Observation  # [B, ...]
    reward: NDArray[np.float32]  # [B]
    terminated: NDArray[np.bool_]  # [B]
    truncated: NDArray[np.bool_]  # [B]
    valid: NDArray[np.bool_]  # [B]
    infos: Infos


class RawStep(NamedTuple):
    """One call of an adapter's environment; see ``NativeVecEnv._advance``.

    ``score`` is the reward that episode statistics sum, ``episode_over`` where they end: both differ from
    ``reward`` and from the end for learning where rewards are clipped and lost lives end episodes.
    """

    obs: Observation  # [B, ...]; the true last observation where an episode ended
    reward: NDArray[np.float32]  # [B]
    terminated: NDArray[np.bool_]  # [B]
    truncated: NDArray[np.bool_]  # [B]
    infos: Infos
    score: NDArray[Any]  # [B]
    episode_over: NDArray[np.bool_]  # [B]


class NativeVecEnv(VecEnv):
    """Base of the adapters: a ``VecEnv`` with correct terminal observations, and raw rows in addition.

    ``step`` is Stable-Baselines3's: the observation after ``done`` is the first one of the next episode, and
    the last one of the old episode is ``infos[i]["terminal_observation"]``. ``step_rows`` is for collectors that mask
    reset rows. Both may be mixed: a reset that ``step_rows`` left pending is the next row of ``step`` too,
    with reward 0 and ``done`` false, for the action was chosen on an observation that has no future.

    The true end of an episode puts ``infos[i]["episode"]`` as ``Monitor`` does, so ``evaluate_policy`` and
    the ``rollout/`` statistics report unclipped returns of whole games; ``env_is_wrapped(Monitor)`` is true.

    Returned arrays may be kept: none is overwritten.

    Attributes:
        has_reset_rows: whether ``step_rows`` may be called.
        shows_resets: whether ``step`` shows a reset as a step of its own, with reward 0.
        statistics: sums of the running episodes.
        closed: whether ``close`` was called.
    """

    has_reset_rows: bool = False
    shows_resets: bool = False

    def __init__(
        self, num_envs: int, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]
    ) -> None:
        observation_space = flat_space(observation_space)
        if not isinstance(action_space, _SIMPLE):
            raise EnvironmentNotSupportedError(
                f"The action space {action_space} is not supported. "
                "Allowed: Discrete, MultiDiscrete, MultiBinary and Box."
            )
        self.statistics = EpisodeStatistics(num_envs)
        self._ended = np.zeros(num_envs, np.bool_)  # at the last row, and not reset since
        self._actions: NDArray[Any] | None = None
        self._started = False
        self.closed = False
        super().__init__(num_envs, observation_space, action_space)

    @abstractmethod
    def _begin(self) -> tuple[Observation, Infos]:
        """Reset every environment; consumes ``self._seeds`` and ``self._options``."""

    @abstractmethod
    def _advance(self, actions: NDArray[Any], valid: NDArray[np.bool_]) -> RawStep:
        """Step every environment once. Arrays must be fresh, for the caller writes into ``obs``."""

    @abstractmethod
    def _restart(self, obs: Observation, ended: NDArray[np.bool_]) -> None:
        """Start the next episode where ``ended``: write its observation into ``obs``, and set ``reset_infos``."""

    @abstractmethod
    def _close(self) -> None:
        """Free the environment's resources."""

    def _check_restart(self) -> None:
        """Raise if ``_restart`` would be impossible; called before anything is stepped."""

    def reset(self) -> VecEnvObs:
        """Start a new episode in every environment and return the first observations ``[B, ...]``."""
        self._check_open("reset")
        obs: VecEnvObs
        obs, self.reset_infos = self._begin()
        self._reset_seeds()
        self._reset_options()
        self.statistics.reset()
        self._ended = np.zeros(self.num_envs, np.bool_)
        self._actions = None
        self._started = True
        return obs

    def step_async(self, actions: NDArray[Any]) -> None:
        """Take the actions ``[B, ...]`` for ``step_wait``."""
        if not self.shows_resets:
            self._check_restart()
        self._actions = self._check_actions(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Make the step: observations, float32 rewards ``[B]``, dones ``[B]``, one info per environment."""
        if self._actions is None:
            raise RuntimeError("step_wait() came without step_async(actions) before it.")
        actions, self._actions = self._actions, None
        rows = self._step(actions)
        done = rows.terminated | rows.truncated
        if done.any():
            for i in np.flatnonzero(done):
                rows.infos[i]["terminal_observation"] = take_rows(rows.obs, i)
            if not self.shows_resets:
                self._restart(rows.obs, done)
                self._ended = np.zeros(self.num_envs, np.bool_)
        return rows.obs, rows.reward, done, rows.infos

    def step_rows(self, actions: NDArray[Any]) -> Rows:
        """Make one raw step with next-step autoreset.

        Args:
            actions: ``[B, ...]``; ignored where the last row ended an episode.

        Raises:
            RuntimeError: the environment resets itself in the same step or not at all (``has_reset_rows`` is
                false), was not reset yet, or is closed.
            ValueError: the actions have another shape than ``[B, ...]`` or leave a discrete action space.
        """
        if not self.has_reset_rows:
            raise RuntimeError(
                f"step_rows() needs an environment with next-step autoreset; {self._name()} has none "
                "(has_reset_rows is false). Use step(), which works with every autoreset mode."
            )
        return self._step(self._check_actions(actions))

    def close(self) -> None:
        """Close the environment. Closing twice is fine; stepping afterwards raises."""
        if not self.closed:
            self.closed = True
            self._close()

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        """Return true for ``Monitor``, whose job the adapter does, and false for other wrappers."""
        return [issubclass(Monitor, wrapper_class)] * len(self._select(indices))

    def _step(self, actions: NDArray[Any]) -> Rows:
        valid = ~self._ended
        return self._taken(self._advance(actions, valid), valid)

    def _taken(self, raw: RawStep, valid: NDArray[np.bool_]) -> Rows:
        """Count a step that was made."""
        self._ended = raw.terminated | raw.truncated
        self._record(raw, valid)
        return Rows(raw.obs, raw.reward, raw.terminated, raw.truncated, valid, raw.infos)

    def _record(self, raw: RawStep, valid: NDArray[np.bool_]) -> None:
        time_limit = (raw.truncated & ~raw.terminated).tolist()
        for info, limited in zip(raw.infos, time_limit, strict=True):
            info["TimeLimit.truncated"] = limited
        for i, episode in self.statistics.update(
            raw.score, raw.episode_over, costs_of(raw.infos), counts=valid
        ):
            # A monitor inside adds to ours ("violation"), and saw the cost before it was scaled.
            inner = raw.infos[i].get("episode", {})
            own = {key: value for key, value in episode.items() if not (key == "c" and key in inner)}
            raw.infos[i]["episode"] = {**inner, **own}

    def _check_open(self, what: str) -> None:
        if self.closed:
            raise RuntimeError(f"{what}() came after close(): {self._name()} is closed. Make a new one.")

    def _check_actions(self, actions: NDArray[Any]) -> NDArray[Any]:
        self._check_open("step")
        if not self._started:
            raise RuntimeError("step() came before reset(). Call reset() first.")
        actions = np.asarray(actions)
        shape = (self.num_envs, *(self.action_space.shape or ()))
        if actions.shape != shape:
            raise ValueError(
                f"actions must have the shape {shape} (environments first), got {actions.shape}."
            )
        # Native code does not check: an index past the end reads foreign memory.
        if isinstance(self.action_space, spaces.Discrete):
            low, high = int(self.action_space.start), int(self.action_space.start + self.action_space.n - 1)
            if actions.min() < low or actions.max() > high:
                raise ValueError(f"actions must be in {low}..{high}, got {actions.min()}..{actions.max()}.")
        return actions

    def _select(self, indices: VecEnvIndices) -> list[int]:
        chosen: Iterable[int] = self._get_indices(indices)
        return [int(i) for i in chosen]

    def _name(self) -> str:
        return type(self).__name__


def to_host(space: spaces.Space[Any], obs: Any) -> Observation:
    """Copy a batch into fresh, writable arrays of the space's dtype, flat as the space is."""
    if isinstance(space, spaces.Dict):
        obs = flat_observation(obs)
        return {key: np.array(obs[key], part.dtype) for key, part in space.spaces.items()}
    return np.array(obs, space.dtype)


def take_rows(obs: Observation, where: Any) -> Observation:
    """Copy some observations out of a batch ``[B, ...]``: those of a mask ``[B]``, or one of an index."""
    if isinstance(obs, dict):
        return {key: np.array(part[where]) for key, part in obs.items()}
    return np.array(obs[where])


def put_rows(obs: Observation, where: Any, rows: Observation) -> None:
    """Write ``rows`` into a batch at ``where``: a mask or indices of as many places, or one index."""
    if isinstance(obs, dict):
        for key, part in obs.items():
            part[where] = rows[key]
    else:
        obs[where] = rows
