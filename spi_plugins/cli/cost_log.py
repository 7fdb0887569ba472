"""Costs in the log of every algorithm."""

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from spi_plugins.algorithms.quiet_steps import FOREVER


class LogCosts(BaseCallback):
    """Logs ``rollout/ep_cost_mean``, ``ep_cost_std``, ``cost_rate`` and, with a limit, ``violation_rate``.

    Nothing is logged if episodes report no cost.

    They are over the episodes of ``rollout/ep_rew_mean``.
    """

    def __init__(self, limit: float | None) -> None:
        super().__init__()
        self._limit = limit

    def quiet_steps(self) -> int:
        """It looks at the ends of rollouts only."""
        return FOREVER

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        episodes = [(info["c"], info["l"]) for info in self.model.ep_info_buffer or () if "c" in info]
        if not episodes:
            return
        costs, lengths = np.array(episodes, np.float64).T
        self.logger.record("rollout/ep_cost_mean", float(costs.mean()))
        self.logger.record("rollout/ep_cost_std", float(costs.std()), exclude="stdout")
        self.logger.record("rollout/cost_rate", float(costs.sum() / lengths.sum()))
        if self._limit is not None:
            self.logger.record("rollout/violation_rate", float((costs > self._limit).mean()))
