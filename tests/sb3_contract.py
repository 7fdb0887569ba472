"""Tiny models and an environment with any spaces."""

import gymnasium as gym
import numpy as np
from tiny_models import TINY_PLANNER

from spi_plugins import PPO, TDMPC2, DeepSPI

ALGORITHMS = {"ppo": PPO, "deep_spi": DeepSPI, "tdmpc2": TDMPC2}
_ROLLOUT = {"n_steps": 8, "batch_size": 8, "n_epochs": 1, "seed": 0, "policy_kwargs": {"net_arch": [8]}}
_ARGUMENTS = {
    "ppo": _ROLLOUT,
    "deep_spi": {**_ROLLOUT, "transition_density": "deterministic"},
    "tdmpc2": {**TINY_PLANNER, "learning_starts": 8, "train_freq": 8, "gradient_steps": 1},
}


class Countdown(gym.Env):
    """Episodes of six steps that pass through random observations; any spaces."""

    metadata = {"render_modes": []}  # noqa: RUF012
    render_mode = None

    def __init__(self, observation_space=None, action_space=None):
        self.observation_space = observation_space or gym.spaces.Box(-1, 1, (3,), np.float32)
        self.action_space = action_space or gym.spaces.Box(-1, 1, (2,), np.float32)
        self.left = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.left = 6
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.left -= 1
        return self.observation_space.sample(), 1.0, False, self.left == 0, {}


def build(name, env=None, policy="MlpPolicy", **kwargs):
    return ALGORITHMS[name](policy, Countdown() if env is None else env, **{**_ARGUMENTS[name], **kwargs})
