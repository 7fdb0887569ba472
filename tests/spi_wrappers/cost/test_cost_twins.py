"""Every wrapper of this part around a vector is a vector of wrapped ones, in every autoreset mode."""

import inspect

import numpy as np
import pytest
from cost_envs import MODES, RandomCosts, assert_twins_agree
from gymnasium.vector import AutoresetMode

import spi_wrappers
from spi_wrappers import vector


def lean(observation, action, next_observation, info):
    at = next_observation["at"] if isinstance(next_observation, dict) else next_observation
    before = observation["at"] if isinstance(observation, dict) else observation
    odd = info["odd"]["a"] if "odd" in info else 0.5
    return abs(float(at[2]) - float(before[2])) + int(action) + odd + info["x_velocity"]


def lean_batched(observation, action, next_observation, info):
    at = next_observation["at"] if isinstance(next_observation, dict) else next_observation
    before = observation["at"] if isinstance(observation, dict) else observation
    odd = np.where(info["_odd"], info["odd"]["a"], 0.5) if "odd" in info else 0.5
    return abs(at[:, 2].astype(float) - before[:, 2].astype(float)) + action + odd + info["x_velocity"]


MAKERS = {
    "fn": ("CostFromFn", {"fn": lean}),
    "info": ("CostFromInfo", {"key": "x_velocity", "scale": 0.5}),
    "info above": ("CostFromInfo", {"key": "x_velocity", "op": ">", "threshold": 1.0}),
    "lives": ("CostFromInfo", {"key": "lives", "op": "drops"}),
    "unhealthy": ("CostFromInfo", {"key": "healthy", "op": "==", "threshold": 0}),
    "velocity": ("VelocityCost", {"threshold": 1.5, "axes": "x"}),
    "speed": ("VelocityCost", {"threshold": 1.5, "axes": "xy"}),
}
TAKERS = {
    "clip": ("ClipCost", {"low": 0.5, "high": 1.5}),
    "delay": ("DelayCost", {"delay": 2}),
    "delay, no flush": ("DelayCost", {"delay": 3, "flush": False}),
    "no delay": ("DelayCost", {"delay": 0}),
    "repeat": ("ActionRepeat", {"repeat": 3}),
    "repeat once": ("ActionRepeat", {"repeat": 1}),
}


def twins(name, kwargs):
    return (
        lambda env: getattr(spi_wrappers, name)(env, **kwargs),
        lambda env: getattr(vector, name)(env, **kwargs),
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dict_obs", [False, True])
@pytest.mark.parametrize("case", MAKERS)
def test_makers(case, dict_obs, mode):
    assert_twins_agree(*twins(*MAKERS[case]), mode, make=lambda: RandomCosts(cost=False, dict_obs=dict_obs))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dict_obs", [False, True])
@pytest.mark.parametrize("case", TAKERS)
def test_takers(case, dict_obs, mode):
    assert_twins_agree(*twins(*TAKERS[case]), mode, make=lambda: RandomCosts(dict_obs=dict_obs))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dict_obs", [False, True])
def test_a_batched_function(dict_obs, mode):
    assert_twins_agree(
        lambda env: spi_wrappers.CostFromFn(env, lean),
        lambda env: vector.CostFromFn(env, lean_batched, batched=True),
        mode,
        make=lambda: RandomCosts(cost=False, dict_obs=dict_obs),
    )


@pytest.mark.parametrize("mode", MODES)
def test_six_values_and_back(mode):
    assert_twins_agree(
        lambda env: spi_wrappers.SixTupleToInfo(spi_wrappers.InfoToSixTuple(env)),
        lambda env: vector.SixTupleToInfo(vector.InfoToSixTuple(env)),
        mode,
    )


STACKS = {
    "made, late, clipped, limited, monitored": [
        ("VelocityCost", {"threshold": 0.5, "axes": "xy"}),
        ("DelayCost", {"delay": 1}),
        ("ClipCost", {"high": 0.7}),
        ("CostLimit", {"limit": 1.5, "mode": "truncate"}),
        ("CostMonitor", {"limit": 1.0}),
    ],
    "limited, repeated, monitored": [
        ("CostFromInfo", {"key": "x_velocity", "op": ">", "threshold": 1.0}),
        ("CostLimit", {"limit": 1.0}),
        ("ActionRepeat", {"repeat": 2}),
        ("CostMonitor", {}),
    ],
    "repeated, limited": [
        ("CostFromFn", {"fn": lean}),
        ("ActionRepeat", {"repeat": 2}),
        ("CostLimit", {"limit": 3.0}),
        ("CostMonitor", {}),
    ],
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stack", STACKS)
def test_stacks(stack, mode):
    def wrap(module):
        def wrapped(env):
            for name, kwargs in STACKS[stack]:
                env = getattr(module, name)(env, **kwargs)
            return env

        return wrapped

    assert_twins_agree(wrap(spi_wrappers), wrap(vector), mode, make=lambda: RandomCosts(cost=False))


def test_everything_is_exported_twice():
    single = {*spi_wrappers.__all__} - {
        "Multiplier",
        "PIDGains",
        "check_cost_env",
        "CostReport",
        "CostEnvError",
    }
    assert single == {*vector.__all__}
    assert AutoresetMode.DISABLED in MODES


@pytest.mark.parametrize("name", vector.__all__)
def test_both_take_the_same_arguments(name):
    single = inspect.signature(getattr(spi_wrappers, name)).parameters
    twin = dict(inspect.signature(getattr(vector, name)).parameters)
    if name == "CostFromFn":
        assert twin.pop("batched").default is False
    assert [(p.name, p.kind, p.default) for p in single.values()] == [
        (p.name, p.kind, p.default) for p in twin.values()
    ]
    assert "kwargs" not in single
