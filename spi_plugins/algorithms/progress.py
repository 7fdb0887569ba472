"""The log of every algorithm: returns, costs and speed, under SB3's keys."""

import sys
import time
from typing import TYPE_CHECKING

import numpy as np
from stable_baselines3.common.utils import safe_mean

if TYPE_CHECKING:
    from spi_plugins.algorithms.base import JaxAlgorithm


def record_progress(model: "JaxAlgorithm", n_steps: int, iteration: int = 0) -> None:
    """Record the running means of the last episodes, and the time, after ``n_steps`` steps of this ``learn``.

    ``iteration`` counts its rollouts; 0 leaves it out.
    """
    assert model.ep_info_buffer is not None
    assert model.ep_success_buffer is not None
    record = model.logger.record
    elapsed = max((time.time_ns() - model.start_time) / 1e9, sys.float_info.epsilon)
    if iteration > 0:
        record("time/iterations", iteration, exclude="tensorboard")
    if model.ep_info_buffer:
        returns = [info["r"] for info in model.ep_info_buffer]
        record("rollout/ep_rew_mean", safe_mean(returns))
        record("rollout/ep_rew_std", float(np.std(returns)), exclude="stdout")
        record("rollout/ep_len_mean", safe_mean([info["l"] for info in model.ep_info_buffer]))
        costs = [(info["c"], info["l"]) for info in model.ep_info_buffer if "c" in info]
        if costs:
            total, steps = np.sum(costs, axis=0)
            record("rollout/ep_cost_mean", float(total / len(costs)))
            record("rollout/ep_cost_std", float(np.std(costs, axis=0)[0]), exclude="stdout")
            record("rollout/cost_rate", float(total / steps))
    if model.ep_success_buffer:
        record("rollout/success_rate", safe_mean(model.ep_success_buffer))
    record("time/fps", int(n_steps / elapsed))
    record("time/time_elapsed", int(elapsed), exclude="tensorboard")
    record("time/total_timesteps", model.num_timesteps, exclude="tensorboard")
