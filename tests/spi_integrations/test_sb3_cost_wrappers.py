import csv

import gymnasium as gym
import numpy as np
import pytest
from cost_envs import MODES, RandomCosts
from gymnasium.vector import SyncVectorEnv
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

import spi_wrappers
import spi_wrappers.vector
from spi_integrations.stable_baselines3 import (
    VecCostMonitor,
    VecLagrangianReward,
    VecSauteBudget,
    as_vec_env,
)


def play(env, steps=60, seed=3):
    """What ``steps`` random steps of a ``VecEnv`` give."""
    env.seed(seed)
    random = np.random.default_rng(0)
    first = env.reset()
    rows = []
    for _ in range(steps):
        obs, rewards, dones, infos = env.step(random.integers(0, 3, env.num_envs))
        rows.append((np.array(obs), np.array(rewards), np.array(dones), infos))
    return np.array(first), rows


def dummy(wrap=lambda env: env, n_envs=3, **kwargs):
    return DummyVecEnv([lambda: wrap(RandomCosts(**kwargs))] * n_envs)


def assert_same_rows(mine, theirs, keys=()):
    np.testing.assert_array_equal(mine[0], theirs[0])
    ended = 0
    for left, right in zip(mine[1], theirs[1], strict=True):
        for one, other in zip(left[:3], right[:3], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6)
        for info, expected, done in zip(left[3], right[3], right[2], strict=True):
            for key in keys:
                assert info[key] == pytest.approx(expected[key]), key
            if done:
                ended += 1
                np.testing.assert_array_equal(info["terminal_observation"], expected["terminal_observation"])
    assert ended > 5


WRAPPED = {
    "lagrangian": (
        lambda env: VecLagrangianReward(env, 2.0, lr=0.1, init=0.5),
        lambda env: spi_wrappers.vector.LagrangianReward(env, 2.0, lr=0.1, init=0.5),
        ("cost", "lagrange_multiplier", "reward_raw"),
    ),
    "saute": (
        lambda env: VecSauteBudget(env, budget=4.0, gamma=0.9, unsafe_reward=-3.0),
        lambda env: spi_wrappers.vector.SauteBudget(env, budget=4.0, gamma=0.9, unsafe_reward=-3.0),
        ("cost", "budget", "reward_raw"),
    ),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", WRAPPED)
def test_wrapping_the_vec_env_is_wrapping_the_vector_env(name, mode):
    outside, inside, keys = WRAPPED[name]

    def vector():
        return SyncVectorEnv([RandomCosts] * 3, autoreset_mode=mode)

    mine, theirs = outside(as_vec_env(vector())), as_vec_env(inside(vector()))
    assert mine.observation_space == theirs.observation_space
    assert_same_rows(play(mine), play(theirs), keys)


@pytest.mark.parametrize("mode", MODES)
def test_a_final_observation_has_the_budget_that_was_left_and_the_first_one_a_whole(mode):
    vector = spi_wrappers.vector.SauteBudget(
        SyncVectorEnv([RandomCosts] * 3, autoreset_mode=mode), budget=10.0
    )
    left = np.ones(3)
    ended = 0
    for obs, _, dones, infos in play(as_vec_env(vector))[1]:
        left -= [info["cost"] / 10.0 for info in infos]
        for i in range(3):
            if dones[i]:
                ended += 1
                assert infos[i]["terminal_observation"][-1] == pytest.approx(left[i])
                left[i] = 1.0
        np.testing.assert_allclose(obs[:, -1], left, rtol=1e-6)
    assert ended > 20


@pytest.mark.parametrize("mode", MODES)
def test_the_cost_of_every_step_comes_through_as_from_single_environments(mode):
    theirs = dummy(Monitor)
    mine = as_vec_env(SyncVectorEnv([RandomCosts] * 3, autoreset_mode=mode))
    ours, expected = play(mine), play(theirs)
    assert_same_rows(ours, expected, ("cost",))


@pytest.mark.parametrize("mode", MODES)
def test_an_episode_reports_its_unshaped_return_and_its_unscaled_cost(mode):
    vector = SyncVectorEnv([RandomCosts] * 3, autoreset_mode=mode)
    vector = spi_wrappers.vector.CostMonitor(vector, limit=3.0)
    vector = spi_wrappers.vector.CostPenalty(vector, coef=2.0)
    vector = spi_wrappers.vector.NormalizeCost(vector)
    plain = dummy(lambda env: spi_wrappers.CostMonitor(Monitor(env), limit=3.0))
    ours, theirs = play(as_vec_env(vector))[1], play(plain)[1]
    ended = 0
    for (_, _, dones, infos), (_, _, _, expected) in zip(ours, theirs, strict=True):
        for i in np.flatnonzero(dones):
            ended += 1
            for key in ("r", "l", "c", "cost_rate", "violation"):
                assert infos[i]["episode"][key] == pytest.approx(expected[i]["episode"][key], abs=1e-5), key
    assert ended > 20


def test_vec_cost_monitor_adds_costs_to_the_monitor_inside():
    monitored = VecCostMonitor(dummy(Monitor), limit=3.0)
    costs, lengths, seen = np.zeros(3), np.zeros(3), []
    for _, _, dones, infos in play(monitored)[1]:
        costs += [info["cost"] for info in infos]
        lengths += 1
        for i in np.flatnonzero(dones):
            episode = infos[i]["episode"]
            assert episode["c"] == costs[i]
            assert episode["cost_rate"] == pytest.approx(costs[i] / lengths[i])
            assert episode["violation"] is bool(costs[i] > 3)
            assert episode["l"] == lengths[i]
            seen.append(costs[i])
            costs[i] = lengths[i] = 0
    assert list(monitored.cost_queue) == seen[-100:]
    assert monitored.episode_count == len(seen)
    assert monitored.violation_count == sum(cost > 3 for cost in seen)


def test_without_a_monitor_inside_it_is_one():
    mine, theirs = VecCostMonitor(dummy()), VecMonitor(dummy())
    assert mine.env_is_wrapped(Monitor) == [True] * 3
    assert not any(mine.env_is_wrapped(gym.wrappers.TimeLimit))
    for left, right in zip(play(mine)[1], play(theirs)[1], strict=True):
        for i in np.flatnonzero(right[2]):
            for key in ("r", "l"):
                assert left[3][i]["episode"][key] == pytest.approx(right[3][i]["episode"][key], abs=1e-5)


def test_its_log_is_a_monitor_file_with_costs(tmp_path):
    env = VecCostMonitor(dummy(), filename=str(tmp_path / "run"))
    episodes = [
        infos[i]["episode"] for _, _, dones, infos in play(env)[1] for i in np.flatnonzero(dones).tolist()
    ]
    env.close()
    with open(tmp_path / "run.monitor.csv") as file:
        assert file.readline().startswith("#{")
        rows = list(csv.DictReader(file))
    assert [float(row["c"]) for row in rows] == [episode["c"] for episode in episodes]
    assert [int(row["l"]) for row in rows] == [episode["l"] for episode in episodes]


@pytest.mark.parametrize("wrap", [VecCostMonitor, lambda env: VecLagrangianReward(env, 1.0)])
def test_costs_that_are_none_are_refused(wrap):
    def spoil(value):
        return lambda step, info: info.update(cost=value) if step == 2 else None

    for kwargs, message in (
        ({"cost": False}, "needs info\\['cost'\\] at every step"),
        ({"spoil": spoil(float("nan"))}, "finite"),
        ({"spoil": spoil(np.zeros(2))}, "one number"),
    ):
        with pytest.raises(ValueError, match=message):
            play(wrap(dummy(**kwargs)))


def test_bad_arguments_are_named():
    with pytest.raises(TypeError, match="as_vec_env"):
        VecCostMonitor(RandomCosts())
    with pytest.raises(ValueError, match="limit"):
        VecLagrangianReward(dummy(), -1.0)
    with pytest.raises(ValueError, match="budget"):
        VecSauteBudget(dummy(), budget=0.0)


def test_dictionary_observations_get_a_key():
    env = VecSauteBudget(dummy(dict_obs=True), budget=5.0)
    assert env.reset()["budget"].tolist() == [[1.0]] * 3
    for _ in range(12):
        obs, _, dones, infos = env.step(np.zeros(3, int))
        assert set(obs) == {"at", "phase", "budget"}
        for i in np.flatnonzero(dones):
            assert infos[i]["terminal_observation"]["budget"].shape == (1,)


def test_stock_helpers_build_it():
    env = VecLagrangianReward(VecCostMonitor(make_vec_env("tests/RandomCosts-v0", n_envs=2)), 1.0)
    assert env.reset().shape == (2, 3)
