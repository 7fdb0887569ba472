import gymnasium as gym
import numpy as np
import pytest
from cost_envs import MODES, RandomCosts, assert_twins_agree
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import RecordEpisodeStatistics
from gymnasium.wrappers.vector import RecordEpisodeStatistics as VectorRecordEpisodeStatistics

from spi_wrappers import CostMonitor
from spi_wrappers.vector import CostMonitor as VectorCostMonitor


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dict_obs", [False, True])
def test_the_twin_is_a_vector_of_single_ones(mode, dict_obs):
    assert_twins_agree(
        lambda env: CostMonitor(env, limit=3.0),
        lambda env: VectorCostMonitor(env, limit=3.0),
        mode,
        make=lambda: RandomCosts(dict_obs=dict_obs),
    )


def play(env, actions):
    env.reset(seed=0)
    for action in actions:
        *_, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            yield info
            env.reset()


def test_it_adds_to_the_statistics_of_gymnasium():
    env = CostMonitor(RecordEpisodeStatistics(RandomCosts()), limit=2.0)
    costs, episodes = 0.0, 0
    env.reset(seed=0)
    for _ in range(50):
        *_, terminated, truncated, info = env.step(1)
        costs += info["cost"]
        if terminated or truncated:
            stats = info["episode"]
            assert {*stats} == {"r", "l", "t", "c", "cost_rate", "violation"}
            assert stats["c"] == costs == env.cost_queue[-1]
            assert stats["cost_rate"] == costs / stats["l"]
            assert stats["violation"] is (costs > 2.0)
            episodes, costs = episodes + 1, 0.0
            env.reset()
    assert env.get_wrapper_attr("episode_count") == episodes > 5
    assert env.violation_count == sum(cost > 2.0 for cost in env.cost_queue) > 0


@pytest.mark.parametrize("mode", MODES)
def test_it_adds_to_the_vector_statistics_of_gymnasium(mode):
    inner = VectorRecordEpisodeStatistics(
        SyncVectorEnv([lambda: RandomCosts(longest=4)] * 3, autoreset_mode=mode)
    )
    env = VectorCostMonitor(inner)
    env.reset(seed=0)
    seen = 0
    for _ in range(20):
        *_, terminated, truncated, infos = env.step([0, 1, 2])
        done = terminated | truncated
        if done.any():
            stats = infos["episode"]
            np.testing.assert_array_equal(infos["_episode"], done)
            for name in ("_c", "_cost_rate"):
                np.testing.assert_array_equal(stats[name], done)
            if mode is not AutoresetMode.DISABLED:  # there Gymnasium's statistics restart in every row
                rate = stats["c"] / np.maximum(stats["l"], 1)
                np.testing.assert_allclose(stats["cost_rate"][done], rate[done])
            seen += done.sum()
            if mode is AutoresetMode.DISABLED:
                env.reset(options={"reset_mask": done})
    assert seen > 3


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "finite"),
        (float("inf"), "finite"),
        (np.ones(1), "one number.*shape \\(1,\\)"),
        ("1", "one number"),
        (None, "one number"),
    ],
)
def test_a_bad_cost_is_refused(value, message):
    env = CostMonitor(RandomCosts(spoil=lambda step, info: info.update(cost=value)))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bad", [float("nan"), "missing", np.ones(2)])
def test_a_bad_cost_of_one_row_is_refused(bad, mode):
    def spoil(step, info):
        if isinstance(bad, str):
            del info["cost"]
        else:
            info["cost"] = bad

    makers = [RandomCosts, lambda: RandomCosts(spoil=spoil), RandomCosts]
    if isinstance(bad, np.ndarray):
        makers = makers[1:2]
    env = VectorCostMonitor(SyncVectorEnv(makers, autoreset_mode=mode))
    env.reset(seed=0)
    with pytest.raises(ValueError, match="CostMonitor needs"):
        env.step([0] * len(makers))


def test_a_cost_that_nobody_makes_is_refused_with_the_fix():
    env = CostMonitor(RandomCosts(cost=False))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"CostMonitor needs info\['cost'\].*CostFromInfo"):
        env.step(0)


@pytest.mark.parametrize("kwargs", [{"limit": -1.0}, {"limit": float("nan")}, {"buffer_length": 0}])
@pytest.mark.parametrize("cls", [CostMonitor, VectorCostMonitor])
def test_arguments_out_of_range_are_refused(kwargs, cls):
    env = RandomCosts() if cls is CostMonitor else SyncVectorEnv([RandomCosts])
    with pytest.raises(ValueError, match=next(iter(kwargs))):
        cls(env, **kwargs)


def test_a_vector_env_that_hides_its_autoreset_mode_is_refused():
    env = SyncVectorEnv([RandomCosts])
    env.metadata = {}
    with pytest.raises(ValueError, match="autoreset_mode"):
        VectorCostMonitor(env)


def test_the_spec_makes_it_again():
    env = CostMonitor(gym.make("tests/RandomCosts-v0"), limit=4.0)
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert isinstance(again, CostMonitor)
    assert again.account.limit == 4.0
