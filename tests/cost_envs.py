"""Environments with costs, and a check that a vector wrapper equals a vector of wrapped environments."""

import functools
from typing import ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

MODES = tuple(AutoresetMode)


class RandomCosts(gym.Env):
    """Random episodes of 1 to 9 steps with random rewards and costs, a function of seed and actions.

    Args:
        cost: whether ``info["cost"]`` is there, at resets also.
        dict_obs: dictionaries instead of flat arrays.
        spoil: ``(step since construction, info)``, changes the info of a step in place.
        longest: the longest episode.
    """

    metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": 7}

    def __init__(self, cost=True, dict_obs=False, spoil=None, longest=9, render_mode=None):
        self.cost, self.dict_obs, self.spoil, self.longest = cost, dict_obs, spoil, longest
        self.render_mode = render_mode
        self.total = 0
        box = gym.spaces.Box(-50, 50, (3,), np.float32)
        self.observation_space = (
            gym.spaces.Dict({"at": box, "phase": gym.spaces.Discrete(50)}) if dict_obs else box
        )
        self.action_space = gym.spaces.Discrete(3)

    def _observe(self):
        vector = np.array([self.t, self.length, self.np_random.uniform(-1, 1)], np.float32)
        return {"at": vector, "phase": np.int64(self.t)} if self.dict_obs else vector

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.length = 0, int(self.np_random.integers(1, self.longest + 1))
        self.by_limit = bool(self.np_random.integers(2))
        return self._observe(), {"length": self.length, **({"cost": 0.0} if self.cost else {})}

    def step(self, action):
        assert 0 <= self.t < self.length, "stepped after the end of an episode"
        self.t += 1
        self.total += 1
        over = self.t == self.length
        speed, side = self.np_random.normal(size=2) + int(action)
        info = {"x_velocity": speed, "y_velocity": side, "lives": 3 - self.t // 3, "healthy": bool(speed > 0)}
        if self.t % 2:
            info["odd"] = {"a": speed, "b": np.array([side, 1.0])}
        if self.cost:
            info["cost"] = float(self.np_random.integers(0, 3))
        if self.spoil is not None:
            self.spoil(self.total, info)
        reward = float(self.np_random.normal())
        return self._observe(), reward, over and not self.by_limit, over and self.by_limit, info

    def render(self):
        return np.full((4, 6, 3), 9 * self.t, np.uint8)


class LongCosts(RandomCosts):
    """The same with episodes of 9 to 12 steps, since Gymnasium's ``check_env`` refuses episodes of one."""

    def reset(self, **kwargs):
        result = super().reset(**kwargs)
        self.length = 9 + self.length % 4
        return result


def tilt(observation, action, next_observation, info):
    """A cost for CartPole."""
    return abs(float(next_observation[2]))


for _name, _class, _kwargs in (
    ("tests/RandomCosts-v0", "RandomCosts", {}),
    ("tests/LongCosts-v0", "LongCosts", {}),
    ("tests/LongNoCosts-v0", "LongCosts", {"cost": False}),
):
    if _name not in gym.registry:
        gym.register(_name, entry_point=f"cost_envs:{_class}", kwargs=_kwargs)


def assert_same(mine, theirs, where="", ignored=("t",)):
    """Compare values, array types and keys recursively."""
    if isinstance(theirs, dict):
        assert mine.keys() - {*ignored} == theirs.keys() - {*ignored}, where
        for key in theirs.keys() - {*ignored}:
            assert_same(mine[key], theirs[key], f"{where}[{key!r}]", ignored)
    elif isinstance(theirs, tuple) or (isinstance(theirs, np.ndarray) and theirs.dtype == object):
        assert len(mine) == len(theirs), where
        for i, (left, right) in enumerate(zip(mine, theirs, strict=True)):
            assert_same(left, right, f"{where}[{i}]", ignored)
    elif theirs is None:
        assert mine is None, where
    else:
        assert np.asarray(mine).dtype == np.asarray(theirs).dtype, where
        np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-12, err_msg=where)


def assert_twins_agree(single, vector, mode, *, make=RandomCosts, num_envs=4, num_steps=60, ignored=("t",)):
    """``vector(VectorEnv)`` must equal ``VectorEnv(single)`` step by step: infos, masks, resets by mask, seeds.

    Args:
        single: wraps an environment.
        vector: wraps a vector environment.
        mode: an ``AutoresetMode``.
        make: makes an environment.
        num_envs: rows.
        num_steps: steps; every 13th is followed by a reset of some rows, one of them with a seed.
        ignored: keys of infos that are not compared.

    Returns:
        The two vector environments, ours first.
    """
    ours = vector(SyncVectorEnv([make] * num_envs, autoreset_mode=mode))
    theirs = SyncVectorEnv([lambda: single(make())] * num_envs, autoreset_mode=mode)
    assert ours.single_observation_space == theirs.single_observation_space
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    same = functools.partial(assert_same, ignored=ignored)
    random = np.random.default_rng(0)
    seeds = [7 * i for i in range(num_envs)]
    same(ours.reset(seed=seeds), theirs.reset(seed=seeds), "reset")
    ours.action_space.seed(1)
    episodes = 0
    for step in range(num_steps):
        action = ours.action_space.sample()
        mine, yours = ours.step(action), theirs.step(action)
        same(mine, yours, f"step {step}")
        mask = yours[2] | yours[3]
        episodes += mask.sum()
        if mode is not AutoresetMode.DISABLED:
            mask = np.zeros(num_envs, np.bool_)
        if step % 13 == 12:
            mask = mask | (random.random(num_envs) < 0.5)
        if mask.any():
            seeds = [step if row == 0 and step % 26 == 12 else None for row in range(num_envs)]
            same(
                ours.reset(seed=seeds, options={"reset_mask": mask.copy()}),
                theirs.reset(seed=seeds, options={"reset_mask": mask.copy()}),
                f"reset after step {step}",
            )
    assert episodes > num_envs
    same(ours.reset(seed=3), theirs.reset(seed=3), "last reset")
    return ours, theirs
