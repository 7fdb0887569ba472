"""The built-in environments with costs under Gymnasium's face."""

import json
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import spi_wrappers  # noqa: F401 - registers the ids
from spi_wrappers.functional import FunctionalVectorEnv

# Episodes short enough to end often, and costs that come often; one program for all the tests of an id.
SHORT = {
    "spi/PointGoal-v0": {"num_hazards": 20, "hazard_radius": 0.4, "max_episode_steps": 12},
    "spi/CostCartPole-v0": {"threshold": 0.03, "max_episode_steps": 14},
}
# Straight ahead, always the same push: both soon meet what costs.
ACTIONS = {"spi/PointGoal-v0": np.array([1.0, 0.1], np.float32), "spi/CostCartPole-v0": np.int64(1)}
IDS = pytest.mark.parametrize("name", SHORT)


@IDS
def test_both_checkers_have_no_complaint(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(name, **SHORT[name]).unwrapped)
        sb3_check_env(gymnasium.make(name, render_mode="rgb_array", **SHORT[name]), skip_render_check=False)


@IDS
def test_every_info_has_the_cost(name):
    env = gymnasium.make(name, **SHORT[name])
    seen = set()
    for episode in range(6):
        _, info = env.reset(seed=episode)
        assert info == {"cost": 0.0}
        ended = False
        while not ended:
            _, _, terminated, truncated, info = env.step(ACTIONS[name])
            ended = terminated or truncated
            assert type(info["cost"]) is float
            seen.add(info["cost"])
    assert seen == {0.0, 1.0}


@IDS
@pytest.mark.parametrize("mode", AutoresetMode)
def test_the_vector_environment_is_a_sync_one_of_single_ones(name, mode):
    ours = gymnasium.make_vec(name, num_envs=3, autoreset_mode=mode, **SHORT[name])
    assert isinstance(ours, FunctionalVectorEnv)
    theirs = SyncVectorEnv(
        [lambda: gymnasium.make(name, disable_env_checker=True, **SHORT[name])] * 3, autoreset_mode=mode
    )
    # Not to the last bit: sines of one number and of three are computed in different ways.
    assert data_equivalence(ours.reset(seed=4), theirs.reset(seed=4), exact=False)
    action = np.stack([ACTIONS[name]] * 3)
    ends, costs = 0, 0.0
    for _ in range(40):
        mine, yours = ours.step(action), theirs.step(action)
        assert data_equivalence(mine, yours, exact=False)
        done = mine[2] | mine[3]
        ends += done.sum()
        costs += mine[4]["cost"].sum() + mine[4].get("final_info", {"cost": np.zeros(3)})["cost"].sum()
        if mode is AutoresetMode.DISABLED and done.any():
            mine = ours.reset(options={"reset_mask": done})
            assert data_equivalence(mine, theirs.reset(options={"reset_mask": done.copy()}), exact=False)
    assert ends > 3
    assert costs > 3


@IDS
def test_a_spec_goes_to_json_and_back(name):
    env = gymnasium.make(name, render_mode="rgb_array", **SHORT[name])
    text = env.spec.to_json()
    json.loads(text)
    twin = gymnasium.make(EnvSpec.from_json(text))
    np.testing.assert_array_equal(env.reset(seed=5)[0], twin.reset(seed=5)[0])
    np.testing.assert_array_equal(env.render(), twin.render())
    assert env.render().dtype == np.uint8
    env.action_space.seed(0)
    for _ in range(5):
        action = env.action_space.sample()
        assert data_equivalence(env.step(action), twin.step(action), exact=True)


def test_levels_and_modes_are_arguments_of_make():
    env = gymnasium.make("spi_wrappers:spi/PointGoal-v0", level=2)
    assert env.unwrapped.functional.initial.config.num_hazards == 24
    assert env.observation_space == gymnasium.spaces.Box(-1, 1, (35,), np.float32)
    assert env.action_space == gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    envs = gymnasium.make_vec(
        "spi_wrappers:spi/PointGoal-v0",
        num_envs=2,
        level=0,
        autoreset_mode="SameStep",
        render_mode="rgb_array",
    )
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    envs.reset(seed=0)
    assert [frame.shape for frame in envs.render()] == [(300, 300, 3)] * 2
    assert gymnasium.make_vec(EnvSpec.from_json(envs.spec.to_json())).num_envs == 2
    with pytest.raises(ValueError, match=r"level must be one of \[0, 1, 2\], got 7"):
        gymnasium.make("spi/PointGoal-v0", level=7)
