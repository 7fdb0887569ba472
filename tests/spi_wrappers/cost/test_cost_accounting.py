"""Accounts against slow references: plain loops over random episodes."""

import gymnasium as gym
import numpy as np
import pytest
from cost_envs import MODES
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

import spi_wrappers
from spi_wrappers import vector

COST = st.floats(0.0, 3.0, width=32)
EPISODES = st.lists(st.lists(COST, min_size=1, max_size=7), min_size=1, max_size=4)
LIMIT = st.floats(0.0, 6.0)


class Played(gym.Env):
    """Episodes of given costs, over and over."""

    observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, episodes):
        self.episodes, self.episode = episodes, -1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.t = self.episode + 1, 0
        return np.zeros(1, np.float32), {"cost": 0.0}

    def step(self, action):
        costs = self.episodes[self.episode % len(self.episodes)]
        cost, self.t = costs[self.t], self.t + 1
        return np.zeros(1, np.float32), 1.0, self.t == len(costs), False, {"cost": cost}


def steps_of(wrap, episodes, count=2):
    """The steps of each episode, as (reward, cost, terminated, truncated, info)."""
    env, played = wrap(Played(episodes)), []
    for _ in range(count * len(episodes)):
        env.reset()
        steps = []
        while not steps or not (steps[-1][2] or steps[-1][3]):
            _, reward, terminated, truncated, info = env.step(0)
            steps.append((reward, info["cost"], terminated, truncated, info))
        played.append(steps)
    return played


def rows_of(wrap, scripts, mode, count=30):
    """The same of a vector, row by row; the last episode of a row may be unfinished."""
    env = wrap(
        SyncVectorEnv([lambda script=script: Played(script) for script in scripts], autoreset_mode=mode)
    )
    env.reset()
    num, over = len(scripts), np.zeros(len(scripts), np.bool_)
    played = [[[]] for _ in scripts]
    for _ in range(count):
        _, reward, terminated, truncated, infos = env.step(np.zeros(num, np.int64))
        done = terminated | truncated
        for row in range(num):
            if over[row]:
                assert (reward[row], infos["_cost"][row] and infos["cost"][row]) == (0.0, 0.0)
                continue
            last = mode is AutoresetMode.SAME_STEP and done[row]
            cost = (infos["final_info"] if last else infos)["cost"][row]
            played[row][-1].append((reward[row], cost, terminated[row], truncated[row]))
            if done[row]:
                played[row].append([])
        over = done if mode is AutoresetMode.NEXT_STEP else np.zeros(num, np.bool_)
        if mode is AutoresetMode.DISABLED and done.any():
            env.reset(options={"reset_mask": done})
    return played


def limited(costs, limit, mode, reward):
    """``CostLimit`` by hand."""
    total, steps = 0.0, []
    for t, cost in enumerate(costs):
        total += cost
        above, natural = total > limit, t + 1 == len(costs)
        ended = (natural or (above and mode == "terminate"), above and mode == "truncate")
        steps.append((reward if above and reward is not None else 1.0, cost, *ended))
        if any(ended):
            break
    return steps


@given(episodes=EPISODES, limit=LIMIT)
def test_monitored_costs_are_sums(episodes, limit):
    played = steps_of(lambda env: spi_wrappers.CostMonitor(env, limit=limit), episodes)
    for costs, steps in zip(episodes * 2, played, strict=True):
        stats = steps[-1][4]["episode"]
        assert stats["c"] == pytest.approx(sum(costs), abs=1e-9)
        assert stats["cost_rate"] == pytest.approx(sum(costs) / len(costs), abs=1e-9)
        assert stats["violation"] == (stats["c"] > limit)
        assert all("episode" not in step[4] for step in steps[:-1])


@given(
    episodes=EPISODES, limit=LIMIT, mode=st.sampled_from(["terminate", "truncate"]), reward=st.none() | COST
)
def test_limits_end_episodes_where_they_should(episodes, limit, mode, reward):
    played = steps_of(lambda env: spi_wrappers.CostLimit(env, limit, mode=mode, reward=reward), episodes)
    for costs, steps in zip(episodes * 2, played, strict=True):
        assert [step[:4] for step in steps] == limited(costs, limit, mode, reward)


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=25)
@given(scripts=st.lists(EPISODES, min_size=1, max_size=4), limit=LIMIT)
def test_limits_end_the_episodes_of_rows_where_they_should(mode, scripts, limit):
    played = rows_of(lambda env: vector.CostLimit(env, limit, mode="truncate", reward=-2.0), scripts, mode)
    for script, row in zip(scripts, played, strict=True):
        for i, steps in enumerate(row):
            wanted = limited(script[i % len(script)], limit, "truncate", -2.0)
            assert steps == wanted[: len(steps)]
            assert i + 1 == len(row) or len(steps) == len(wanted)


@given(episodes=EPISODES, delay=st.integers(0, 5), flush=st.booleans())
def test_delayed_costs_come_late_and_are_kept_if_asked(episodes, delay, flush):
    played = steps_of(lambda env: spi_wrappers.DelayCost(env, delay, flush=flush), episodes)
    for costs, steps in zip(episodes * 2, played, strict=True):
        late = [0.0] * delay + costs
        wanted = late[: len(costs)]
        if flush:
            wanted[-1] += sum(late[len(costs) :])
        assert [step[1] for step in steps] == pytest.approx(wanted, abs=1e-9)


@given(episodes=EPISODES, low=st.floats(0.0, 1.0), width=st.floats(0.0, 2.0))
def test_clipped_costs_are_within_bounds(episodes, low, width):
    played = steps_of(lambda env: spi_wrappers.ClipCost(env, low=low, high=low + width), episodes)
    for costs, steps in zip(episodes * 2, played, strict=True):
        assert [step[1] for step in steps] == [min(max(cost, low), low + width) for cost in costs]


@given(episodes=EPISODES, threshold=COST)
def test_the_first_cost_above_the_threshold_terminates(episodes, threshold):
    played = steps_of(lambda env: spi_wrappers.CostToTermination(env, threshold=threshold), episodes)
    for costs, steps in zip(episodes * 2, played, strict=True):
        above = [t for t, cost in enumerate(costs) if cost > threshold]
        assert len(steps) == (above[0] + 1 if above else len(costs))


@given(episodes=EPISODES, repeat=st.integers(1, 4))
def test_repeated_actions_sum_rewards_and_costs(episodes, repeat):
    played = steps_of(lambda env: spi_wrappers.ActionRepeat(env, repeat), episodes)
    for costs, steps in zip(episodes * 2, played, strict=True):
        windows = [costs[i : i + repeat] for i in range(0, len(costs), repeat)]
        assert [step[0] for step in steps] == [len(window) for window in windows]
        assert [step[1] for step in steps] == pytest.approx([sum(window) for window in windows], abs=1e-9)
        assert [step[4]["n_repeats"] for step in steps] == [len(window) for window in windows]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("repeat", [1, 3])
def test_rows_of_repeated_actions_say_how_many_steps_they_took(mode, repeat):
    makers = [lambda length=length: Played([[0.5] * length]) for length in (2, 4, 7)]
    env = vector.ActionRepeat(SyncVectorEnv(makers, autoreset_mode=mode), repeat)
    _, infos = env.reset()
    assert "n_repeats" not in infos
    over = np.zeros(3, np.bool_)
    for _ in range(12):
        _, reward, terminated, _, infos = env.step(np.zeros(3, np.int64))
        for row in range(3):
            last = terminated[row] and mode is AutoresetMode.SAME_STEP
            told = infos["final_info"] if last else infos
            # A step of Played pays 1; rows that were reset in place of a step took none.
            assert told.get("_n_repeats", np.zeros(3, np.bool_))[row] == (not over[row])
            assert over[row] or told["n_repeats"][row] == reward[row]
        over = terminated if mode is AutoresetMode.NEXT_STEP else over
        if mode is AutoresetMode.DISABLED and terminated.any():
            env.reset(options={"reset_mask": terminated})


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=25)
@given(scripts=st.lists(EPISODES, min_size=1, max_size=4), repeat=st.integers(2, 4))
def test_repeated_actions_of_rows_sum_rewards_and_costs(mode, scripts, repeat):
    played = rows_of(lambda env: vector.ActionRepeat(env, repeat), scripts, mode, count=12)
    for script, row in zip(scripts, played, strict=True):
        for i, steps in enumerate(row):
            costs = script[i % len(script)]
            windows = [costs[j : j + repeat] for j in range(0, len(costs), repeat)]
            assert [step[0] for step in steps] == [len(window) for window in windows][: len(steps)]
            sums = [sum(window) for window in windows][: len(steps)]
            assert [step[1] for step in steps] == pytest.approx(sums, abs=1e-9)


def test_a_life_lost_is_a_cost_and_a_life_won_is_none():
    env = spi_wrappers.CostFromInfo(Lives([3, 3, 2, 4, 3, 3, 1]), "lives", op="drops", scale=2.0)
    env.reset()
    assert [env.step(0)[4]["cost"] for _ in range(6)] == [0.0, 2.0, 0.0, 2.0, 0.0, 2.0]
    env.reset()
    assert env.step(0)[4]["cost"] == 0.0


class Lives(Played):
    def __init__(self, lives):
        self.lives = lives

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return np.zeros(1, np.float32), {"lives": self.lives[0]}

    def step(self, action):
        self.t += 1
        return np.zeros(1, np.float32), 1.0, False, False, {"lives": self.lives[self.t]}
