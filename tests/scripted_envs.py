"""Environments that play a script, and comparisons between two of them."""

import functools
from typing import ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.vector import SyncVectorEnv
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from spi_plugins.algorithms.vec_envs import GymVectorEnvAdapter

SCRIPTS = [[(1, "end")], [(3, "limit"), (1, "limit"), (2, "end")], [(2, "end"), (4, "both")]]


class Scripted(gym.Env):
    """Episodes of given (length, ending) in turn. An observation says env, episode, step and action."""

    metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": 7}

    def __init__(self, name, script, *, dict_obs=False, cost=False, render_mode=None):
        self.name, self.script, self.dict_obs, self.cost = name, script, dict_obs, cost
        self.render_mode = render_mode
        self.episode, self.first_seed = -1, None
        box = gym.spaces.Box(-1e3, 1e3, (4,), np.float32)
        count = gym.spaces.Discrete(1000)
        self.observation_space = gym.spaces.Dict({"b": box, "a": count}) if dict_obs else box
        self.action_space = gym.spaces.Discrete(5)

    def _obs(self, action):
        vector = np.array([self.name, self.episode, self.t, action], np.float32)
        return {"a": np.int64(self.t), "b": vector} if self.dict_obs else vector

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.first_seed = seed if seed is not None else self.first_seed
        self.options = options
        self.episode, self.t = self.episode + 1, 0
        return self._obs(-1), {"fresh": self.episode, **({"cost": 0.0} if self.cost else {})}

    def step(self, action):
        assert self.t >= 0, "stepped after the end of an episode"
        self.t += 1
        length, ending = self.script[self.episode % len(self.script)]
        over = self.t == length
        obs, reward = self._obs(action), self.t + 0.5 * float(action)
        info = {"step": self.t, **({"cost": 0.25 * self.t} if self.cost else {})}
        if over:
            self.t = -1
        return obs, reward, over and ending != "limit", over and ending != "end", info

    def render(self):
        return np.full((4, 6, 3), self.name, np.uint8)


def makers(scripts, **kwargs):
    return [functools.partial(Scripted, i, script, **kwargs) for i, script in enumerate(scripts)]


def adapter(scripts, mode, **kwargs):
    return GymVectorEnvAdapter(SyncVectorEnv(makers(scripts, **kwargs), autoreset_mode=mode))


def reference(scripts, **kwargs):
    return DummyVecEnv([lambda make=make: Monitor(make()) for make in makers(scripts, **kwargs)])


def assert_same_infos(got, want):
    for mine, theirs in zip(got, want, strict=True):
        assert mine.keys() == theirs.keys()
        for key in mine.keys() - {"terminal_observation", "episode"}:
            assert mine[key] == theirs[key]
            assert type(mine[key]) is type(theirs[key])
        if "terminal_observation" in mine:
            assert_same_obs(mine["terminal_observation"], theirs["terminal_observation"])
        if "episode" in mine:
            assert (mine["episode"]["r"], mine["episode"]["l"]) == (
                theirs["episode"]["r"],
                theirs["episode"]["l"],
            )


def assert_same_obs(got, want):
    if isinstance(want, dict):
        assert list(got) == list(want)
        for key in want:
            assert_same_obs(got[key], want[key])
    else:
        np.testing.assert_array_equal(got, want)
        assert np.asarray(got).dtype == np.asarray(want).dtype
