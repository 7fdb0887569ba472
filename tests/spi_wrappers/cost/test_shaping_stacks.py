"""Whole stacks of shaping wrappers: twins agree, the env checkers pass, and no stack forgets an episode."""

import gymnasium as gym
import numpy as np
import pytest
from cost_envs import MODES, RandomCosts, assert_twins_agree
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import SyncVectorEnv
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import spi_wrappers
from spi_wrappers import vector
from spi_wrappers.cost.accounts.multiplier import Multiplier

FIXED = Multiplier(1.0, init=0.6)
FIXED.frozen = True

STACKS = {
    "the documented order": [
        ("CostFromInfo", {"key": "x_velocity", "op": ">", "threshold": 0.5}),
        ("CostLimit", {"limit": 2.0, "mode": "truncate"}),
        ("CostMonitor", {"limit": 1.0}),
        ("SauteBudget", {"budget": 2.0, "gamma": 0.95}),
        ("LagrangianReward", {"multiplier": FIXED, "normalize": True}),
        ("NormalizeCost", {"update": False}),
    ],
    "several costs, the worst of which ends episodes": [
        (
            "MultiCost",
            {
                "terms": {
                    "x": {"key": "x_velocity", "op": ">", "threshold": 0.0},
                    "lives": {"key": "lives", "op": "drops"},
                },
                "limits": {"x": 3.0, "lives": 2.0},
                "combine": "worst",
            },
        ),
        ("CostLimit", {"limit": 1.0, "mode": "terminate"}),
        ("CostMonitor", {}),
        ("CostPenalty", {"coef": 3.0}),
        ("SauteBudget", {"budget": 1.0}),
    ],
    "penalty inside, repeated actions outside": [
        ("CostFromInfo", {"key": "lives", "op": "drops"}),
        ("CostPenalty", {"coef": 0.5}),
        ("ActionRepeat", {"repeat": 2}),
        ("LagrangianReward", {"multiplier": FIXED}),
    ],
}


def wrap(module, stack):
    def wrapped(env):
        for name, kwargs in STACKS[stack]:
            env = getattr(module, name)(env, **kwargs)
        return env

    return wrapped


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("dict_obs", [False, True])
def test_a_stack_around_a_vector_is_a_vector_of_stacks(stack, mode, dict_obs):
    assert_twins_agree(
        wrap(spi_wrappers, stack),
        wrap(vector, stack),
        mode,
        make=lambda: RandomCosts(cost=False, dict_obs=dict_obs),
    )


@pytest.mark.parametrize("stack", STACKS)
def test_check_cost_env_is_content_with_a_stack(stack):
    single = wrap(spi_wrappers, stack)(RandomCosts(cost=False))
    assert spi_wrappers.check_cost_env(single, steps=200).errors == ()
    for mode in MODES:
        env = wrap(vector, stack)(SyncVectorEnv([lambda: RandomCosts(cost=False)] * 3, autoreset_mode=mode))
        assert spi_wrappers.check_cost_env(env, steps=60).errors == ()


class Long(RandomCosts):
    """Gymnasium's checker refuses episodes of one step, and this one has a cost to warm up with."""

    def reset(self, **kwargs):
        result = super().reset(**kwargs)
        self.length = 9
        return result


WRAPPERS = {
    "CostPenalty": {"coef": 0.5},
    "SauteBudget": {"budget": 3.0, "gamma": 0.9},
    "LagrangianReward": {"limit": 1.0, "init": 0.5},
    "NormalizeCost": {
        "update": False
    },  # moving statistics are no function of the seed, as in NormalizeReward
    "MultiCost": {"limits": {"all": 1.0}, "combine": "worst"},
}


@pytest.mark.filterwarnings("ignore:.*different from the unwrapped version:UserWarning")
@pytest.mark.parametrize("dict_obs", [False, True])
@pytest.mark.parametrize("name", WRAPPERS)
def test_the_checkers_of_gymnasium_and_stable_baselines_pass(name, dict_obs):
    def make():
        def spoil(step, info):
            info["cost_terms"] = {"all": info["cost"]}

        env = Long(dict_obs=dict_obs, spoil=spoil, render_mode="rgb_array")
        return getattr(spi_wrappers, name)(env, **WRAPPERS[name])

    check_env(make(), skip_render_check=True)
    sb3_check_env(make())


def test_sb3_reaches_the_multiplier_through_its_vec_env():
    from stable_baselines3.common.vec_env import DummyVecEnv

    def make():
        return gym.wrappers.TimeLimit(spi_wrappers.LagrangianReward(RandomCosts(), 1.0, init=0.5), 100)

    envs = DummyVecEnv([make, make])
    envs.env_method("set_multiplier", 2.0, frozen=True)
    envs.seed(0)
    envs.reset()
    for _ in range(20):
        *_, infos = envs.step(np.array([0, 1]))
        assert [info["lagrange_multiplier"] for info in infos] == [2.0, 2.0]


WRONG = {
    "NormalizeCost, then CostMonitor": "CostMonitor would take normalized costs for real ones; apply",
    "NormalizeCost, then SauteBudget": "SauteBudget would take normalized costs",
    "NormalizeCost, then LagrangianReward": "LagrangianReward would take normalized costs",
    "NormalizeCost, then CostLimit": "CostLimit would take normalized costs",
    "CostMonitor, then CostLimit": "CostLimit would end episodes without CostMonitor seeing it; apply CostLimit before",
    "LagrangianReward, then CostToTermination": "CostToTermination would end episodes without LagrangianReward",
    "CostPenalty, then ClipCost": "ClipCost would change the cost after CostPenalty has used it",
    "SauteBudget, then DelayCost": "DelayCost would change the cost after SauteBudget has used it",
}
ARGUMENTS = {
    "SauteBudget": {"budget": 1.0},
    "LagrangianReward": {"limit": 1.0},
    "CostLimit": {"limit": 1.0},
    "CostToTermination": {"threshold": 1.0},
    "CostPenalty": {"coef": 1.0},
    "DelayCost": {"delay": 1},
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_order_is_refused_with_the_fix(case):
    inner, outer = case.split(", then ")

    def single(name, env):
        return getattr(spi_wrappers, name)(env, **ARGUMENTS.get(name, {}))

    def twin(name, env):
        return getattr(vector, name)(env, **ARGUMENTS.get(name, {}))

    rows = SyncVectorEnv([RandomCosts])
    makes = [
        lambda: single(outer, gym.wrappers.TimeLimit(single(inner, RandomCosts()), 9)),
        lambda: twin(outer, twin(inner, rows)),
        lambda: twin(outer, SyncVectorEnv([lambda: single(inner, RandomCosts())])),
    ]
    for make in makes:
        with pytest.raises(ValueError, match=f"Wrong order: {WRONG[case]}"):
            make()
