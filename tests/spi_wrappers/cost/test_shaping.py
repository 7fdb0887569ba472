"""Penalties, budgets and multipliers equal slow references, single and vector, in every autoreset mode."""

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

from spi_wrappers import CostPenalty, LagrangianReward, SauteBudget
from spi_wrappers import vector as twins
from spi_wrappers.cost.accounts.multiplier import Multiplier

WRAPPERS = [
    pytest.param("CostPenalty", {"coef": 0.5}, id="penalty"),
    pytest.param("SauteBudget", {"budget": 4.0}, id="saute"),
    pytest.param("SauteBudget", {"budget": 4.0, "gamma": 0.9, "unsafe_reward": -7.0}, id="saute-discounted"),
    pytest.param("LagrangianReward", {"limit": 2.0, "lr": 0.1, "init": 0.5}, id="lagrangian"),
    pytest.param("LagrangianReward", {"limit": 2.0, "pid": {"kp": 0.3}, "normalize": True}, id="pid"),
]
SINGLE = {"CostPenalty": CostPenalty, "SauteBudget": SauteBudget, "LagrangianReward": LagrangianReward}
seeds = st.integers(0, 2**16)


def twin_makers(name, kwargs):
    """The wrapper and its twin, as functions of the environment."""
    return lambda env: SINGLE[name](env, **kwargs), lambda env: getattr(twins, name)(env, **kwargs)


def steps(env, seed, num_steps=40):
    """Transitions of random actions, and whether each began an episode."""
    env.reset(seed=seed)
    env.action_space.seed(seed)
    begins = True
    for _ in range(num_steps):
        result = env.step(env.action_space.sample())
        yield begins, *result
        begins = result[2] or result[3]
        if begins:
            env.reset()


@settings(max_examples=40, deadline=None)
@given(seed=seeds, coef=st.floats(0, 10))
def test_a_penalty_is_the_cost_at_its_price(seed, coef):
    for _, _, reward, _, _, info in steps(CostPenalty(RandomCosts(), coef=coef), seed):
        assert reward == pytest.approx(info["reward_raw"] - coef * info["cost"])


@settings(max_examples=40, deadline=None)
@given(seed=seeds, budget=st.floats(0.5, 20), gamma=st.floats(0.5, 1.0), dict_obs=st.booleans())
def test_a_budget_equals_a_slow_reference(seed, budget, gamma, dict_obs):
    env = SauteBudget(RandomCosts(dict_obs=dict_obs), budget=budget, gamma=gamma, unsafe_reward=-9.0)
    costs = []
    for begins, obs, reward, _, _, info in steps(env, seed):
        costs = [*([] if begins else costs), info["cost"]]
        # z_t = (1 - sum_k gamma^k c_k / budget) / gamma^t
        spent = sum(gamma**k * cost for k, cost in enumerate(costs)) / budget
        left = (1 - spent) / gamma ** len(costs)
        shown = obs["budget"][0] if dict_obs else obs[-1]
        assert info["budget"] == pytest.approx(left, abs=1e-9)
        assert shown == pytest.approx(left, rel=1e-6, abs=1e-6)
        assert env.observation_space.contains(obs)
        if abs(left) > 1e-9:
            assert reward == (info["reward_raw"] if left > 0 else -9.0)


def test_spending_the_whole_budget_is_unsafe():
    env = SauteBudget(RandomCosts(spoil=lambda step, info: info.update(cost=0.5)), budget=1.0)
    obs, info = env.reset(seed=2)
    assert (obs[-1], info["budget"]) == (1.0, 1.0)
    assert env.step(0)[1] != -1.0
    assert env.step(0)[1] == -1.0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dict_obs", [False, True])
@pytest.mark.parametrize(("name", "kwargs"), WRAPPERS[:3])
def test_the_twin_is_a_vector_of_single_ones(name, kwargs, mode, dict_obs):
    assert_twins_agree(*twin_makers(name, kwargs), mode, make=lambda: RandomCosts(dict_obs=dict_obs))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("longest", [1, 9])
@pytest.mark.parametrize(("name", "kwargs"), WRAPPERS)
def test_with_one_row_the_twin_is_the_single_one(name, kwargs, mode, longest):
    assert_twins_agree(
        *twin_makers(name, kwargs), mode, make=lambda: RandomCosts(longest=longest), num_envs=1
    )


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_a_multiplier_that_stands_still_is_the_same_in_all_rows(mode, normalize):
    multiplier = Multiplier(1.0, init=0.7)
    multiplier.frozen = True
    ours, _ = assert_twins_agree(
        lambda env: LagrangianReward(env, multiplier=multiplier, normalize=normalize),
        lambda env: twins.LagrangianReward(env, multiplier=multiplier, normalize=normalize),
        mode,
    )
    assert ours.multiplier is multiplier
    assert multiplier.value == 0.7


class UpdateAfterSteps(gym.vector.VectorWrapper):
    """What the runner of environments with a shared manual multiplier does."""

    def __init__(self, env, multiplier):
        super().__init__(env)
        self.multiplier = multiplier

    def step(self, actions):
        result = self.env.step(actions)
        self.multiplier.update()
        return result


@pytest.mark.parametrize("how", [{"lr": 0.3}, {"pid": {"delay": 2, "ki": 0.1}}], ids=["ascent", "pid"])
@pytest.mark.parametrize("mode", MODES)
def test_the_twin_is_a_vector_of_single_ones_that_share_a_multiplier_updated_after_each_step(mode, how):
    shared = Multiplier(2.0, manual=True, **how)
    ours = twins.LagrangianReward(SyncVectorEnv([RandomCosts] * 4, autoreset_mode=mode), 2.0, **how)
    theirs = UpdateAfterSteps(
        SyncVectorEnv([lambda: LagrangianReward(RandomCosts(), multiplier=shared)] * 4, autoreset_mode=mode),
        shared,
    )
    moved = set()
    for env in (ours, theirs):
        env.reset(seed=5)
    ours.action_space.seed(0)
    for _ in range(60):
        action = ours.action_space.sample()
        (*mine, infos), (*yours, their_infos) = ours.step(action), theirs.step(action)
        for left, right in zip(mine, yours, strict=True):
            np.testing.assert_array_equal(left, right)
        for key in ("lagrange_multiplier", "_lagrange_multiplier", "reward_raw", "cost"):
            np.testing.assert_array_equal(infos[key], their_infos[key])
        assert ours.multiplier.state_dict() == shared.state_dict()
        moved.add(shared.value)
        done = mine[2] | mine[3]
        if mode is AutoresetMode.DISABLED and done.any():
            ours.reset(options={"reset_mask": done})
            theirs.reset(options={"reset_mask": done.copy()})
    assert len(moved) > 10


@settings(max_examples=40, deadline=None)
@given(seed=seeds, num_envs=st.integers(1, 4), mode=st.sampled_from(MODES), normalize=st.booleans())
def test_multipliers_and_rewards_equal_a_slow_reference_over_rows(seed, num_envs, mode, normalize):
    limit, lr = 2.0, 0.2
    env = twins.LagrangianReward(
        SyncVectorEnv([RandomCosts] * num_envs, autoreset_mode=mode), limit, lr=lr, normalize=normalize
    )
    env.reset(seed=seed)
    env.action_space.seed(seed)
    value, sums, over = 0.0, [0.0] * num_envs, [False] * num_envs
    for _ in range(40):
        _, reward, terminated, truncated, infos = env.step(env.action_space.sample())
        ended = []
        for row in range(num_envs):
            done = bool(terminated[row] or truncated[row])
            info = infos["final_info"] if done and mode is AutoresetMode.SAME_STEP else infos
            if over[row]:  # a reset in place of a step
                assert reward[row] == infos["cost"][row] == 0.0
                assert not infos.get("_lagrange_multiplier", [False] * num_envs)[row]
            else:
                cost = info["cost"][row]
                sums[row] += cost
                shaped = info["reward_raw"][row] - value * cost
                assert reward[row] == pytest.approx(shaped / (1 + value) if normalize else shaped)
                assert info["lagrange_multiplier"][row] == pytest.approx(value)
                if done:
                    ended.append(sums[row])
                    sums[row] = 0.0
            over[row] = done and mode is AutoresetMode.NEXT_STEP
        if ended:
            value = max(0.0, value + lr * (sum(ended) / len(ended) - limit))
        assert env.multiplier.value == pytest.approx(value)
        if mode is AutoresetMode.DISABLED and ended:
            env.reset(options={"reset_mask": terminated | truncated})


@pytest.mark.parametrize("dict_obs", [False, True])
def test_the_final_observation_shows_what_was_left_then(dict_obs):
    env = twins.SauteBudget(
        SyncVectorEnv([lambda: RandomCosts(dict_obs=dict_obs)] * 3, autoreset_mode=AutoresetMode.SAME_STEP),
        budget=3.0,
    )
    env.reset(seed=1)
    spent, seen = np.zeros(3), 0
    for _ in range(30):
        obs, _, terminated, truncated, infos = env.step([0, 1, 2])
        done = terminated | truncated
        for row in range(3):
            spent[row] += infos["final_info"]["cost"][row] if done[row] else infos["cost"][row]
            shown = obs["budget"][row, 0] if dict_obs else obs[row, -1]
            if done[row]:
                final = infos["final_obs"][row]
                left = final["budget"][0] if dict_obs else final[-1]
                assert left == pytest.approx(1 - spent[row] / 3.0, abs=1e-6)
                assert env.single_observation_space.contains(final)
                assert shown == 1.0
                seen += left < 1
                spent[row] = 0.0
            else:
                assert shown == pytest.approx(1 - spent[row] / 3.0, abs=1e-6)
    assert seen > 3


def constant_cost(step, info):
    info["cost"] = 1.5


def test_the_raw_reward_is_that_of_the_environment_in_a_stack():
    plain = RandomCosts(spoil=constant_cost)
    env = CostPenalty(LagrangianReward(copy.deepcopy(plain), 1.0, init=1.0), coef=2.0)
    env.reset(seed=0)
    plain.reset(seed=0)
    _, reward, *_, info = env.step(1)
    _, raw, *_ = plain.step(1)
    assert info["reward_raw"] == raw
    assert reward == pytest.approx(raw - 3.0 * 1.5)


def test_a_callback_can_set_and_freeze_the_multiplier():
    env = gym.wrappers.TransformReward(LagrangianReward(RandomCosts(longest=1), 0.0, lr=1.0), lambda r: r)
    env.get_wrapper_attr("set_multiplier")(2.0, frozen=True)
    for _ in range(5):
        env.reset(seed=0)
        assert env.step(0)[4]["lagrange_multiplier"] == 2.0
    env.get_wrapper_attr("set_multiplier")(2.0, frozen=False)
    values = []
    for seed in range(9):
        env.reset(seed=seed)
        values.append(env.step(0)[4]["lagrange_multiplier"])
    assert values[0] == 2.0
    assert values[-1] > 2.0


def test_one_multiplier_can_be_shared_by_training_environments():
    shared = Multiplier(1.0, manual=True)
    envs = [LagrangianReward(RandomCosts(), multiplier=shared) for _ in range(2)]
    assert envs[0].multiplier is envs[1].multiplier is shared
    envs[0].set_multiplier(0.3)
    envs[1].reset(seed=0)
    assert envs[1].step(0)[4]["lagrange_multiplier"] == 0.3


@pytest.mark.parametrize(("name", "kwargs"), WRAPPERS)
def test_the_spec_makes_it_again_and_copies_are_equal(name, kwargs):
    env = SINGLE[name](gym.make("tests/RandomCosts-v0"), **kwargs)
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    copies = [again, copy.deepcopy(env), pickle.loads(pickle.dumps(env))]
    for twin in copies:
        assert type(twin) is SINGLE[name]
        for mine, yours in zip(steps(env, 3), steps(twin, 3), strict=True):
            assert_same(mine[1:], yours[1:])
        env = SINGLE[name](gym.make("tests/RandomCosts-v0"), **kwargs)


@pytest.mark.parametrize(("name", "kwargs"), WRAPPERS)
def test_vector_twins_pickle_and_record_their_arguments_as_json(name, kwargs):
    env = getattr(twins, name)(SyncVectorEnv([RandomCosts] * 2), **kwargs)
    env.reset(seed=0)
    env.step([0, 1])
    twin = pickle.loads(pickle.dumps(env))
    np.testing.assert_array_equal(env.step([1, 1])[1], twin.step([1, 1])[1])
    recorded = json.loads(json.dumps(env._saved_kwargs))
    again = type(env)(SyncVectorEnv([RandomCosts] * 2), **recorded)
    assert again._saved_kwargs == recorded


def test_a_spec_of_a_shared_multiplier_makes_one_of_its_own():
    shared = Multiplier(1.0, lr=0.5, manual=True)
    env = LagrangianReward(gym.make("tests/RandomCosts-v0"), multiplier=shared)
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert again.multiplier is not shared
    assert again.multiplier.settings() == shared.settings()


@pytest.mark.parametrize("vector", [False, True])
@pytest.mark.parametrize(
    ("name", "kwargs", "error", "message"),
    [
        ("CostPenalty", {"coef": -1}, ValueError, "coef must be finite and at least 0, got -1"),
        ("SauteBudget", {"budget": 0}, ValueError, "budget must be finite and above 0, got 0"),
        ("SauteBudget", {"budget": 1, "gamma": 0}, ValueError, "gamma must be"),
        ("SauteBudget", {"budget": 1, "gamma": 1.5}, ValueError, "gamma must be .* at most 1, got 1.5"),
        ("SauteBudget", {"budget": 1, "unsafe_reward": "x"}, TypeError, "unsafe_reward must be a number"),
        ("LagrangianReward", {"limit": -25}, ValueError, "limit must be finite and at least 0, got -25"),
        ("LagrangianReward", {}, TypeError, "needs limit"),
        ("LagrangianReward", {"limit": 1, "lr": 1, "pid": {}}, ValueError, "lr and pid exclude"),
        ("LagrangianReward", {"multiplier": 3}, TypeError, "multiplier must be a Multiplier"),
        ("LagrangianReward", {"limit": 1, "normalize": 1}, TypeError, "normalize must be True or False"),
        (
            "LagrangianReward",
            {"limit": 1, "lr": 0.1, "multiplier": Multiplier(1)},
            ValueError,
            r"\['limit', 'lr'\] belong to the Multiplier",
        ),
    ],
)
def test_bad_arguments_are_named(name, kwargs, error, message, vector):
    cls, env = (
        (getattr(twins, name), SyncVectorEnv([RandomCosts])) if vector else (SINGLE[name], RandomCosts())
    )
    with pytest.raises(error, match=message):
        cls(env, **kwargs)


@pytest.mark.parametrize(("name", "kwargs"), WRAPPERS)
def test_an_environment_without_a_cost_is_refused_with_the_fix(name, kwargs):
    env = SINGLE[name](RandomCosts(cost=False), **kwargs)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=rf"{name} needs info\['cost'\] at every step.*CostFromInfo"):
        env.step(0)


@pytest.mark.parametrize("bad", [float("nan"), np.ones(2), "1"])
@pytest.mark.parametrize(("name", "kwargs"), WRAPPERS)
def test_a_bad_cost_is_refused(name, kwargs, bad):
    env = SINGLE[name](RandomCosts(spoil=lambda step, info: info.update(cost=bad)), **kwargs)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=f"{name} needs"):
        env.step(0)


def test_a_budget_refuses_negative_costs():
    env = SauteBudget(RandomCosts(spoil=lambda step, info: info.update(cost=-1.0)), budget=1.0)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"costs that are not negative, got \[-1.0\]"):
        env.step(0)


def test_a_budget_refuses_images_and_taken_keys():
    class Images(RandomCosts):
        def __init__(self):
            super().__init__()
            self.observation_space = gym.spaces.Box(0, 255, (8, 8, 3), np.uint8)

    with pytest.raises(TypeError, match="SauteBudget appends 'budget' to observations that are flat"):
        SauteBudget(Images(), budget=1.0)
    with pytest.raises(ValueError, match="adds the key 'budget' to observations, which already have it"):
        SauteBudget(SauteBudget(RandomCosts(dict_obs=True), budget=1.0), budget=1.0)
