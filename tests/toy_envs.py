"""Gymnasium environments that the tests of several packages share."""

from typing import ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces

VECTOR = spaces.Box(-1.0, 1.0, (3,), np.float32)
CHANNELS_FIRST = spaces.Box(0, 255, (3, 12, 14), np.uint8)
CHANNELS_LAST = spaces.Box(0, 255, (12, 14, 3), np.uint8)
MIXED = spaces.Dict(
    {"image": CHANNELS_LAST, "vector": VECTOR, "room": spaces.Discrete(4), "keys": spaces.MultiBinary(2)}
)


class ToyEnv(gym.Env):
    """Random observations of any space, reward 1, and episodes of 5 steps, every second one cut by a limit.

    ``step`` insists on actions of the space. ``spoil`` is called with (time step, observation, reward) and
    gives what is returned instead.
    """

    metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, observation_space=VECTOR, action_space=None, spoil=None, render_mode=None):
        self.observation_space = observation_space
        self.action_space = spaces.Discrete(2) if action_space is None else action_space
        self.spoil = spoil
        self.render_mode = render_mode
        self.episodes = self.elapsed = self.total = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.episodes += 1
        self.elapsed = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        self.elapsed += 1
        self.total += 1
        observation, reward = self.observation_space.sample(), 1.0
        if self.spoil is not None:
            observation, reward = self.spoil(self.total, observation, reward)
        over = self.elapsed == 5
        limited = self.episodes % 2 == 0
        return observation, reward, over and not limited, over and limited, {}

    def render(self):
        return np.full((16, 16, 3), 40 * self.elapsed, np.uint8)


class Walker(gym.Env):
    """Episodes of nine steps whose observation is all of the state, so that a test can put it where a run stood."""

    observation_space, action_space = VECTOR, spaces.Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, before_step=None):
        self.state, self.total = np.zeros(3, np.float32), 0
        self.before_step = before_step

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = np.zeros(3, np.float32)
        return self.state.copy(), {}

    def step(self, action):
        if self.before_step is not None:
            self.before_step(self)
        self.total += 1
        self.state[:2] = 0.9 * self.state[:2] + 0.1 * action
        self.state[2] += 1 / 9
        return self.state.copy(), float(self.state[0]), False, self.state[2] > 0.999, {}
