"""Normalized costs equal a slow reference, however episodes end."""

import copy
import json
import pickle

import gymnasium as gym
import numpy as np
import pytest
from cost_envs import MODES, RandomCosts, assert_same, assert_twins_agree
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from spi_wrappers import NormalizeCost
from spi_wrappers.vector import NormalizeCost as VectorNormalizeCost


def trained():
    """Statistics of some episodes."""
    env = NormalizeCost(RandomCosts())
    for seed in range(9):
        env.reset(seed=seed)
        env.step(0)
    return env.state_dict()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    gamma=st.floats(0, 1),
    num_envs=st.integers(1, 3),
    mode=st.sampled_from(MODES),
)
def test_costs_are_divided_by_the_deviation_of_all_discounted_sums_so_far(seed, gamma, num_envs, mode):
    env = VectorNormalizeCost(
        SyncVectorEnv([RandomCosts] * num_envs, autoreset_mode=mode), gamma=gamma, epsilon=1e-3
    )
    env.reset(seed=seed)
    env.action_space.seed(seed)
    # One sample with mean 0 and variance 1, as the first and second moment of two half samples at -1 and 1.
    samples, weights = [-1.0, 1.0], [0.5, 0.5]
    sums, over = [0.0] * num_envs, [False] * num_envs
    for _ in range(30):
        *_, terminated, truncated, infos = env.step(env.action_space.sample())
        done = terminated | truncated
        shown = []
        for row in range(num_envs):
            info = infos["final_info"] if done[row] and mode is AutoresetMode.SAME_STEP else infos
            if over[row]:
                assert infos["cost"][row] == 0.0
                sums[row] = 0.0
            else:
                sums[row] = gamma * sums[row] + info["cost_raw"][row]
                samples.append(sums[row])
                weights.append(1.0)
                shown.append((info["cost_raw"][row], info["cost"][row]))
                if done[row] and mode is not AutoresetMode.NEXT_STEP:
                    sums[row] = 0.0
        mean = np.average(samples, weights=weights)
        variance = np.average((np.array(samples) - mean) ** 2, weights=weights)
        for raw, normalized in shown:
            assert normalized == pytest.approx(raw / np.sqrt(variance + 1e-3))
        over = [bool(row) and mode is AutoresetMode.NEXT_STEP for row in done]
        if mode is AutoresetMode.DISABLED and done.any():
            env.reset(options={"reset_mask": done})
    state = env.state_dict()
    assert (state["mean"], state["variance"]) == pytest.approx((mean, variance))


@pytest.mark.parametrize("mode", MODES)
def test_the_twin_is_a_vector_of_single_ones_while_statistics_stand_still(mode):
    state = trained()

    def make(cls, env):
        env = cls(env, update=False)
        env.load_state_dict(state)
        return env

    assert_twins_agree(lambda env: make(NormalizeCost, env), lambda env: make(VectorNormalizeCost, env), mode)


@pytest.mark.parametrize("mode", MODES)
def test_with_one_row_the_twin_is_the_single_one(mode):
    assert_twins_agree(NormalizeCost, VectorNormalizeCost, mode, num_envs=1)


def test_statistics_move_from_training_to_evaluation():
    env = NormalizeCost(RandomCosts(), update=False)
    env.load_state_dict(json.loads(json.dumps(trained())))
    before = env.state_dict()
    env.reset(seed=0)
    env.step(0)
    assert env.state_dict() == before
    env.update = True
    env.step(0)
    assert env.state_dict() != before


def test_bad_arguments_and_states_are_named():
    for kwargs, message in (({"gamma": 1.1}, "gamma must be"), ({"epsilon": 0}, "epsilon must be")):
        with pytest.raises(ValueError, match=message):
            NormalizeCost(RandomCosts(), **kwargs)
    with pytest.raises(TypeError, match="update must be True or False"):
        VectorNormalizeCost(SyncVectorEnv([RandomCosts]), update=1)
    env = NormalizeCost(RandomCosts())
    with pytest.raises(ValueError, match="state must have mean, variance and count"):
        env.load_state_dict({"mean": 0.0})
    with pytest.raises(ValueError, match="variance must be"):
        env.load_state_dict({"mean": 0.0, "variance": -1.0, "count": 3})


def test_the_spec_makes_it_again_and_copies_are_equal():
    env = NormalizeCost(gym.make("tests/RandomCosts-v0"), gamma=0.5, epsilon=0.1)
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    twins = [again, copy.deepcopy(env), pickle.loads(pickle.dumps(env))]
    first = (env.reset(seed=1), env.step(1), env.step(0))
    for twin in twins:
        assert_same(first, (twin.reset(seed=1), twin.step(1), twin.step(0)))


def test_a_missing_cost_is_refused_with_the_fix():
    env = NormalizeCost(RandomCosts(cost=False))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"NormalizeCost needs info\['cost'\] at every step"):
        env.step(0)
