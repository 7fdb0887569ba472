"""What every wrapper owes Gymnasium and Stable-Baselines3, whatever it computes."""

import copy
import pickle
import warnings

import gymnasium as gym
import numpy as np
import pytest
from cost_envs import MODES, RandomCosts, assert_same
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.env_checker import check_env as check_for_sb3
from stable_baselines3.common.vec_env import DummyVecEnv

import spi_wrappers
from spi_wrappers import vector

# Name of the id that each is put around, and its arguments.
WRAPPERS = {
    "ActionRepeat": ("LongCosts", {"repeat": 2}),
    "ClipCost": ("LongCosts", {}),
    "CostFromFn": ("LongNoCosts", {"fn": "cost_envs:tilt"}),
    "CostFromInfo": ("LongNoCosts", {"key": "lives", "op": "drops"}),
    "CostLimit": ("LongCosts", {"limit": 4.0}),
    "CostMonitor": ("LongCosts", {"limit": 4.0}),
    "CostToTermination": ("LongCosts", {"threshold": 1.0}),
    "DelayCost": ("LongCosts", {"delay": 2}),
    "VelocityCost": ("LongNoCosts", {"threshold": 1.0, "axes": "xy"}),
}
NAMES = pytest.mark.parametrize("name", WRAPPERS)


def single(name):
    env_id, kwargs = WRAPPERS[name]
    return getattr(spi_wrappers, name)(gym.make(f"tests/{env_id}-v0"), **kwargs)


def several(name, mode=AutoresetMode.NEXT_STEP):
    env_id, kwargs = WRAPPERS[name]
    env = SyncVectorEnv([lambda: gym.make(f"tests/{env_id}-v0")] * 3, autoreset_mode=mode)
    return getattr(vector, name)(env, **kwargs)


@NAMES
def test_the_checkers_of_gymnasium_and_of_sb3_pass(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*is different from the unwrapped version.*")
        check_env(single(name))
        check_for_sb3(single(name))


@NAMES
def test_the_spec_is_json_and_makes_it_again(name):
    env = single(name)
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert str(again) == str(env)
    env.reset(seed=3)
    again.reset(seed=3)
    for _ in range(4):
        assert_same(again.step(1), env.step(1), name)


@NAMES
@pytest.mark.parametrize("clone", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_copies_go_on_as_the_original(name, clone):
    env = single(name)
    env.reset(seed=0)
    env.step(1)
    env.step(2)
    other = clone(env)
    for _ in range(2):
        assert_same(other.step(1), env.step(1), name)


@NAMES
def test_it_is_found_through_other_wrappers(name):
    env = gym.wrappers.TimeLimit(single(name), 5)
    assert env.get_wrapper_attr("account").num_rows == 1


@NAMES
def test_sb3_vectors_carry_the_costs(name):
    env = DummyVecEnv([lambda: single(name)] * 2)
    env.reset()
    for _ in range(30):
        *_, infos = env.step(np.array([0, 1]))
        assert all(isinstance(info["cost"], float) for info in infos)


@NAMES
@pytest.mark.parametrize("mode", MODES)
def test_vector_costs_are_doubles_with_a_mask(name, mode):
    env = several(name, mode)
    _, infos = env.reset(seed=0)
    for _ in range(20):
        assert infos["cost"].dtype == np.float64
        assert infos["cost"].shape == (3,)
        assert infos["_cost"].all()
        _, reward, terminated, truncated, infos = env.step(np.array([0, 1, 2]))
        assert reward.dtype == np.float64
        done = terminated | truncated
        if mode is AutoresetMode.DISABLED and done.any():
            kept = infos
            _, infos = env.reset(options={"reset_mask": done})
            np.testing.assert_array_equal(infos["_cost"], done)
            infos = kept


@NAMES
def test_results_of_a_step_stay_what_they_were(name):
    env = several(name)
    env.reset(seed=0)
    kept = []
    for _ in range(25):
        result = env.step(np.array([0, 1, 2]))
        kept.append((result, copy.deepcopy(result)))
    for result, before in kept:
        assert_same(result, before, name)


@NAMES
def test_options_of_a_reset_are_left_as_they_were(name):
    env = several(name)
    env.reset(seed=0)
    options = {"reset_mask": np.array([True, False, True])}
    env.reset(options=options)
    assert list(options) == ["reset_mask"]


def double(wrapper, module, env):
    return getattr(module, wrapper)(env, **WRAPPERS[wrapper][1])


@pytest.mark.parametrize("name", ["CostFromFn", "CostFromInfo", "VelocityCost"])
def test_a_second_cost_is_refused(name):
    env = double(name, spi_wrappers, RandomCosts())
    env.reset(seed=0)
    with pytest.raises(ValueError, match=rf"{name} makes info\['cost'\].*already"):
        env.step(0)
    for mode in MODES:
        envs = double(name, vector, SyncVectorEnv([RandomCosts] * 2, autoreset_mode=mode))
        envs.reset(seed=0)
        with pytest.raises(ValueError, match=rf"{name} makes info\['cost'\].*already"):
            envs.step(np.array([0, 0]))


def test_a_second_cost_of_six_values_is_refused():
    env = spi_wrappers.SixTupleToInfo(SixAndInfo())
    env.reset()
    with pytest.raises(ValueError, match="SixTupleToInfo makes"):
        env.step(0)
    env = spi_wrappers.SixTupleToInfo(RandomCosts())
    env.reset()
    with pytest.raises(ValueError, match="got 5 values"):
        env.step(0)


class SixAndInfo(RandomCosts):
    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, 1.0, terminated, truncated, info


@pytest.mark.parametrize("fn", ["nowhere:nothing", "math", "math:nothing"])
def test_a_function_that_is_not_there_is_refused(fn):
    with pytest.raises(ValueError, match="fn"):
        spi_wrappers.CostFromFn(RandomCosts(cost=False), fn)


def test_a_function_must_be_callable():
    with pytest.raises(TypeError, match="fn"):
        spi_wrappers.CostFromFn(RandomCosts(cost=False), 3)


@pytest.mark.parametrize("value", [float("nan"), None, np.ones(2)])
def test_a_function_must_return_a_finite_number(value):
    env = spi_wrappers.CostFromFn(RandomCosts(cost=False), lambda *transition: value)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="CostFromFn needs what fn returns"):
        env.step(0)


def test_a_batched_function_must_return_a_number_for_each_row():
    env = vector.CostFromFn(
        SyncVectorEnv([lambda: RandomCosts(cost=False)] * 2), lambda *transition: np.ones(3), batched=True
    )
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        env.step(np.array([0, 0]))


@pytest.mark.parametrize(
    ("kwargs", "named"),
    [
        ({"key": "cost"}, "key"),
        ({"key": "speed", "op": "above"}, "op"),
        ({"key": "speed", "op": ">"}, "threshold"),
        ({"key": "speed", "threshold": 1.0}, "threshold"),
        ({"key": "speed", "scale": float("inf")}, "scale"),
    ],
)
def test_arguments_of_costs_from_infos_are_checked(kwargs, named):
    with pytest.raises(ValueError, match=named):
        spi_wrappers.CostFromInfo(RandomCosts(cost=False), **kwargs)


def test_an_info_that_is_not_there_is_refused_with_those_that_are():
    env = spi_wrappers.CostFromInfo(RandomCosts(cost=False), "speed")
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"'speed'.*'x_velocity'"):
        env.step(0)


@pytest.mark.parametrize(
    ("name", "kwargs", "error"),
    [
        ("ClipCost", {"low": 2.0, "high": 1.0}, ValueError),
        ("ClipCost", {"low": "0"}, TypeError),
        ("DelayCost", {"delay": -1}, ValueError),
        ("DelayCost", {"delay": 1.5}, TypeError),
        ("ActionRepeat", {"repeat": 0}, ValueError),
        ("CostToTermination", {"threshold": -1.0}, ValueError),
    ],
)
def test_arguments_are_checked(name, kwargs, error):
    with pytest.raises(error, match=next(iter(kwargs))):
        getattr(spi_wrappers, name)(RandomCosts(), **kwargs)


@pytest.mark.parametrize("mode", MODES)
def test_a_second_cost_is_refused_around_another_cost_wrapper(mode):
    inner = vector.ClipCost(SyncVectorEnv([RandomCosts] * 2, autoreset_mode=mode))
    env = vector.VelocityCost(inner, threshold=1.0, axes="x")
    env.reset(seed=0)
    with pytest.raises(ValueError, match="already"):
        env.step(np.array([0, 0]))
