"""Returns, lengths and costs of many environments' episodes: a ``Monitor`` for vectors."""

import time
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


class EpisodeStatistics:
    """Sums reward, steps and cost of ``B`` running episodes, without a Python loop over environments.

    Attributes:
        episode_return: float64 ``[B]``, the reward so far of each running episode.
        episode_length: int64 ``[B]``, its steps so far.
        episode_cost: float64 ``[B]``, its cost so far.
        costs_seen: whether a cost ever came; episodes report ``"c"`` from then on.
    """

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs
        self.episode_return = np.zeros(num_envs, np.float64)
        self.episode_length = np.zeros(num_envs, np.int64)
        self.episode_cost = np.zeros(num_envs, np.float64)
        self.costs_seen = False
        self._start = time.time()

    def update(
        self,
        reward: ArrayLike,
        done: ArrayLike,
        cost: ArrayLike | None = None,
        counts: ArrayLike | None = None,
    ) -> list[tuple[int, dict[str, Any]]]:
        """Count one step of every environment, and close the episodes that end with it.

        Args:
            reward: ``[B]``, as the episode's return reports it, so before any clipping.
            done: bool ``[B]``, the true end of an episode.
            cost: ``[B]``, or ``None`` where the environments have none.
            counts: bool ``[B]``, false for a row that is not a step (an autoreset); all true if ``None``.

        Returns:
            ``(index, episode)`` for each episode that ended, in order of index. ``episode`` is what
            Stable-Baselines3's ``Monitor`` puts into ``info["episode"]``: return ``"r"``, length ``"l"``,
            seconds since the start of this object ``"t"``, and the undiscounted cost ``"c"`` if any was seen.
        """
        where: Any = True if counts is None else np.asarray(counts, np.bool_)
        np.add(self.episode_return, reward, out=self.episode_return, where=where)
        self.episode_length += where
        if cost is not None:
            self.costs_seen = True
            np.add(self.episode_cost, cost, out=self.episode_cost, where=where)
        ended = np.flatnonzero(np.asarray(done, np.bool_))
        if not ended.size:
            return []
        elapsed = round(time.time() - self._start, 6)
        episodes: list[tuple[int, dict[str, Any]]] = []
        for i in ended.tolist():
            # Six decimals, as Monitor rounds, so that the numbers compare equal.
            total, length = round(float(self.episode_return[i]), 6), int(self.episode_length[i])
            costs = {"c": round(float(self.episode_cost[i]), 6)} if self.costs_seen else {}
            episodes.append((i, {"r": total, "l": length, "t": elapsed, **costs}))
        self._clear(ended)
        return episodes

    def reset(self) -> None:
        """Forget the running episodes, as after a reset of every environment."""
        self._clear(slice(None))

    def _clear(self, which: NDArray[np.intp] | slice) -> None:
        self.episode_return[which] = 0.0
        self.episode_length[which] = 0
        self.episode_cost[which] = 0.0
