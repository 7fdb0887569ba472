"""Costs of episodes, from the steps of a ``VecEnv``."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv, VecMonitor, is_vecenv_wrapped

from spi_wrappers.cost.accounts import checks
from spi_wrappers.cost.accounts.account import COST_KEY

Infos = list[dict[str, Any]]


class EndedEpisode(NamedTuple):
    """An episode that ended at the last step: its environment's row, undiscounted cost, and length in steps.

    The cost is NaN if none was reported and none is required.
    """

    row: int
    cost: float
    length: int


class EpisodeCosts:
    """Sums ``info["cost"]`` over the running episodes of a ``VecEnv``; ``reader`` is named in messages.

    Unless costs are ``required``, an episode may report none, and its cost is NaN.

    If a monitor inside reports ``info["episode"]["c"]`` (and ``"l"``), that is used instead, because the monitor saw
    the cost before anything changed it.
    """

    def __init__(self, env: VecEnv, reader: str, *, required: bool = True) -> None:
        self._reader, self._required = reader, required
        self._monitored = is_monitored(env)
        self._costs = np.zeros(env.num_envs)
        self._lengths = np.zeros(env.num_envs, np.int64)
        self._seen = np.zeros(env.num_envs, np.bool_)

    def update(self, infos: Infos, dones: NDArray[np.bool_]) -> list[EndedEpisode]:
        """Count one step of every environment, and return the episodes that ended with it."""
        self._lengths += 1
        for i, info in enumerate(infos):
            if COST_KEY in info:
                self._costs[i] += checks.read_single_cost(info[COST_KEY], self._reader)
                self._seen[i] = True
        ended = [i for i in np.flatnonzero(dones).tolist() if is_over(infos[i], monitored=self._monitored)]
        return [self._close(i, infos[i]) for i in ended]

    def _close(self, i: int, info: dict[str, Any]) -> EndedEpisode:
        episode = info.get("episode", {})
        seen = "c" in episode or self._seen[i]
        if self._required and not seen:
            raise checks.missing_cost(self._reader, list(info))
        cost, length = episode.get("c", self._costs[i]), episode.get("l", self._lengths[i])
        self._costs[i], self._lengths[i], self._seen[i] = 0.0, 0, False
        return EndedEpisode(i, float(cost) if seen else float("nan"), int(length))


def is_monitored(env: VecEnv) -> bool:
    """Whether ``info["episode"]`` marks the ends of whole episodes."""
    return is_vecenv_wrapped(env, VecMonitor) or bool(env.env_is_wrapped(Monitor)[0])


def is_over(info: dict[str, Any], *, monitored: bool) -> bool:
    """Whether a ``done`` ends the episode, not just one of several lives (Atari)."""
    return not (monitored and "lives" in info and "episode" not in info)
