import functools

import gymnasium as gym
import numpy as np
import pytest
from cost_envs import MODES, RandomCosts, assert_same, assert_twins_agree
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

import spi_wrappers
from spi_wrappers import vector
from spi_wrappers.functional import FunctionalGymEnv, FunctionalVectorEnv

TWINS = {
    "terminate": ("CostLimit", {"limit": 2.0}),
    "truncate": ("CostLimit", {"limit": 2.0, "mode": "truncate", "reward": -5.0}),
    "at once": ("CostLimit", {"limit": 0.0}),
    "step": ("CostToTermination", {"threshold": 1.0}),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dict_obs", [False, True])
@pytest.mark.parametrize("twin", TWINS)
def test_the_twin_is_a_vector_of_single_ones(twin, dict_obs, mode):
    name, kwargs = TWINS[twin]
    assert_twins_agree(
        lambda env: getattr(spi_wrappers, name)(env, **kwargs),
        lambda env: getattr(vector, name)(env, **kwargs),
        mode,
        make=lambda: RandomCosts(dict_obs=dict_obs),
    )


@pytest.mark.parametrize("mode", MODES)
def test_wrappers_inside_and_outside_know_of_the_end(mode):
    def single(env):
        return spi_wrappers.CostMonitor(spi_wrappers.CostLimit(spi_wrappers.DelayCost(env, 2), 2.0))

    def several(env):
        return vector.CostMonitor(vector.CostLimit(vector.DelayCost(env, 2), 2.0))

    assert_twins_agree(single, several, mode)


def constant(cost):
    return lambda step, info: info.update(cost=cost)


def test_the_limit_itself_is_allowed_and_the_reward_is_replaced():
    env = spi_wrappers.CostLimit(RandomCosts(spoil=constant(1.0), longest=40), 3.0, reward=-7.0)
    while env.reset(seed=None)[1]["length"] < 10:
        pass
    ends = []
    for _ in range(4):
        _, reward, terminated, truncated, _ = env.step(0)
        ends.append((reward == -7.0, terminated, truncated))
    assert ends == [(False, False, False)] * 3 + [(True, True, False)]


# JAX and newer Pythons warn about forking with running threads; these workers use neither JAX nor locks.
@pytest.mark.filterwarnings("ignore:.*fork")
@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_an_async_vector_env_is_like_a_sync_one_where_steps_are_not_random(mode):
    makers = [functools.partial(CountedCartPole, cost) for cost in (0.5, 1.0, 2.0)]
    envs = [
        vector.CostLimit(cls(makers, autoreset_mode=mode), 5.0) for cls in (SyncVectorEnv, AsyncVectorEnv)
    ]
    try:
        resets = [env.reset(seed=4) for env in envs]
        assert_same(resets[1], resets[0], "reset")
        for step in range(30):
            results = [env.step(np.array([0, 1, step % 2])) for env in envs]
            assert_same(results[1], results[0], f"step {step}")
    finally:
        envs[1].close()


class CountedCartPole(gym.Wrapper):
    def __init__(self, cost):
        super().__init__(gym.make("CartPole-v1"))
        self.cost = cost

    def step(self, action):
        *step, info = self.env.step(action)
        return *step, {**info, "cost": self.cost}


BOARD = {"env": "spi/PixelGoal-v0", "size": 3, "num_hazards": 4, "max_episode_steps": 30}


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.DISABLED])
def test_a_functional_vector_env_ends_like_a_vector_of_wrapped_ones(mode):
    ours = vector.CostLimit(FunctionalVectorEnv(3, autoreset_mode=mode, **BOARD), 1.0)
    makers = [lambda: spi_wrappers.CostLimit(FunctionalGymEnv(**BOARD), 1.0)] * 3
    theirs = SyncVectorEnv(makers, autoreset_mode=mode)
    assert_same(ours.reset(seed=0), theirs.reset(seed=0), "reset")
    ends = 0
    for step in range(25):
        actions = np.array([step % 4, (step // 2) % 4, 3])
        mine, yours = ours.step(actions), theirs.step(actions)
        assert_same(mine[:4], yours[:4], f"step {step}")
        np.testing.assert_array_equal(mine[4]["cost"], yours[4]["cost"])
        done = mine[2] | mine[3]
        ends += done.sum()
        if mode is AutoresetMode.DISABLED and done.any():
            ours.reset(options={"reset_mask": done})
            theirs.reset(options={"reset_mask": done})
    assert ends > 2


def test_a_functional_vector_env_resets_in_the_next_step():
    env = vector.CostLimit(FunctionalVectorEnv(8, **BOARD), 1.0)
    env.reset(seed=0)
    costs, over, ends = np.zeros(8), np.zeros(8, np.bool_), 0
    for step in range(40):
        _, reward, terminated, truncated, infos = env.step(np.arange(step, step + 8) % 4)
        costs = np.where(over, 0.0, costs + infos["cost"])
        for signal in (reward, terminated, infos["cost"]):
            assert not signal[over].any()
        assert (terminated[costs > 1.0]).all()
        over = terminated | truncated
        ends += (costs > 1.0).sum()
    assert ends > 2


def test_a_vector_env_that_does_not_know_masks_is_refused_with_the_fix():
    env = gym.make_vec("CartPole-v1", 2, vectorization_mode="vector_entry_point")
    with pytest.raises(ValueError, match=r"reset_mask.*CartPoleVectorEnv.*vectorization_mode='sync'"):
        vector.CostLimit(env, 1.0)


def test_statistics_that_forget_other_rows_are_refused_inside():
    env = RecordEpisodeStatistics(SyncVectorEnv([RandomCosts] * 2))
    with pytest.raises(ValueError, match=r"RecordEpisodeStatistics.*around CostLimit"):
        vector.CostLimit(env, 1.0)
    RecordEpisodeStatistics(vector.CostLimit(SyncVectorEnv([RandomCosts] * 2), 1.0)).reset()


@pytest.mark.parametrize("kwargs", [{"limit": -1.0}, {"limit": 1.0, "mode": "stop"}, {"limit": float("nan")}])
def test_arguments_out_of_range_are_refused(kwargs):
    with pytest.raises(ValueError, match=list(kwargs)[-1]):
        spi_wrappers.CostLimit(RandomCosts(), **kwargs)
