"""Callbacks that watch the costs of episodes."""

from collections import deque

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from spi_integrations.stable_baselines3.episode_costs import EndedEpisode, EpisodeCosts
from spi_wrappers.cost.accounts.arguments import real, whole


class EpisodeCostCallback(BaseCallback):
    """Base of callbacks that see the cost of each episode when it ends, in ``_on_episodes``."""

    def __init__(self, verbose: int = 0) -> None:
        super().__init__(verbose)
        self._tracker: EpisodeCosts | None = None

    def _on_training_start(self) -> None:
        self._tracker = EpisodeCosts(self.training_env, type(self).__name__)

    def _on_step(self) -> bool:
        assert self._tracker is not None
        ended = self._tracker.update(self.locals["infos"], self.locals["dones"])
        return self._on_episodes(ended) if ended else True

    def _on_episodes(self, ended: list[EndedEpisode]) -> bool:
        """Handle episodes that ended at the same step; return false to stop the training."""
        return True


class CostLogCallback(EpisodeCostCallback):
    """Logs ``rollout/ep_cost_mean``, ``rollout/cost_rate`` and, with a limit, ``rollout/violation_rate``.

    Means are over as many episodes as ``rollout/ep_rew_mean``. Algorithms of this package log the first two
    themselves.

    Args:
        limit: an episode that costs more is a violation.
        verbose: as in every callback.

    Raises:
        ValueError: in training, an episode has no cost.
    """

    def __init__(self, limit: float | None = None, verbose: int = 0) -> None:
        super().__init__(verbose)
        self._limit = None if limit is None else real("limit", limit, at_least=0.0)
        self._episodes: deque[EndedEpisode] = deque()
        self._changed = False

    def _on_training_start(self) -> None:
        super()._on_training_start()
        assert self.model.ep_info_buffer is not None
        self._episodes = deque(self._episodes, maxlen=self.model.ep_info_buffer.maxlen)

    def _on_episodes(self, ended: list[EndedEpisode]) -> bool:
        self._episodes.extend(ended)
        self._changed = True
        return True

    def _on_rollout_end(self) -> None:
        if not self._changed:  # the logger keeps the last values until they are written
            return
        self._changed = False
        costs = np.array([episode.cost for episode in self._episodes])
        steps = sum(episode.length for episode in self._episodes)
        self.logger.record("rollout/ep_cost_mean", float(costs.mean()))
        self.logger.record("rollout/cost_rate", float(costs.sum() / steps))
        if self._limit is not None:
            self.logger.record("rollout/violation_rate", float((costs > self._limit).mean()))


class StopOnCost(EpisodeCostCallback):
    """Stops the training once recent episodes cost too much on average.

    Args:
        limit: the mean cost above which training stops.
        n_episodes: number of episodes in the mean; training never stops before that many have ended.
        verbose: 1 to log why the training stopped.

    Raises:
        ValueError: in training, an episode has no cost.
    """

    def __init__(self, limit: float, n_episodes: int = 100, verbose: int = 0) -> None:
        super().__init__(verbose)
        self._limit = real("limit", limit, at_least=0.0)
        self._costs: deque[float] = deque(maxlen=whole("n_episodes", n_episodes, at_least=1))

    def _on_episodes(self, ended: list[EndedEpisode]) -> bool:
        self._costs.extend(episode.cost for episode in ended)
        if len(self._costs) < (self._costs.maxlen or 0):
            return True
        mean = float(np.mean(self._costs))
        if mean > self._limit and self.verbose >= 1:
            self.logger.info(
                f"Stopped at {self.num_timesteps} steps: the last {len(self._costs)} episodes cost {mean:.2f} on "
                f"average, above the limit of {self._limit:g}."
            )
        return mean <= self._limit
