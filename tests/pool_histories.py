"""EnvPool's environments, and what each of them observes during a run."""

import gymnasium as gym
import numpy as np
import pytest

from spi_plugins.algorithms.vec_envs import EnvPoolVecEnv

envpool = pytest.importorskip("envpool")

ATARI = {"episodic_life": True, "reward_clip": True, "img_height": 42, "img_width": 42}


def raw(env_id, num_envs=3, seed=0, **kwargs):
    return envpool.make(env_id, env_type="gymnasium", num_envs=num_envs, seed=seed, **kwargs)


def make(env_id, num_envs=3, seed=0, **kwargs):
    return EnvPoolVecEnv(raw(env_id, num_envs, seed, **kwargs))


def breakout(num_envs=3, **kwargs):
    return make("Breakout-v5", num_envs, **{**ATARI, "max_episode_steps": 150, **kwargs})


def actions_for(env, steps, seed=1):
    rng = np.random.default_rng(seed)
    if isinstance(env.action_space, gym.spaces.Discrete):
        return rng.integers(0, env.action_space.n, (steps, env.num_envs))
    shape = (steps, env.num_envs, *env.action_space.shape)
    return rng.uniform(env.action_space.low, env.action_space.high, shape).astype(np.float32)


def by_environment(env, steps, rows):
    """Play with actions drawn for each environment's own steps, and list what each environment saw.

    An entry is the true observation reached and whatever came with it, or None for a reset.
    """
    actions = actions_for(env, steps)
    seen, clock = [[] for _ in range(env.num_envs)], np.zeros(env.num_envs, int)
    obs = env.reset()
    for i in range(env.num_envs):
        seen[i].append((obs[i], None))
    for _ in range(steps):
        action = actions[clock, np.arange(env.num_envs)]
        if rows:
            obs, reward, terminated, truncated, valid, infos = env.step_rows(action)
            done = terminated | truncated
        else:
            obs, reward, done, infos = env.step(action)
            valid = np.ones(env.num_envs, bool)
        clock += valid
        for i, info in enumerate(infos):
            reached = info.get("terminal_observation", obs[i])
            episode = info.get("episode", {})
            entry = (
                reward[i],
                done[i],
                info["TimeLimit.truncated"],
                info.get("lives"),
                episode.get("r"),
                episode.get("l"),
            )
            seen[i].append((reached, entry) if valid[i] else (reached, None))
            if done[i] and not rows:
                seen[i].append((obs[i], None))
    return seen


def assert_same_history(got, want, at_least=1):
    ends = 0
    for mine, theirs in zip(got, want, strict=True):
        for (obs, entry), (other_obs, other_entry) in zip(mine, theirs, strict=False):
            np.testing.assert_array_equal(obs, other_obs)
            assert entry == other_entry
            ends += entry is None
    assert ends > at_least, "the run was too short to show anything"
