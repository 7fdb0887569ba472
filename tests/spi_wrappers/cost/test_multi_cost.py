"""Several costs: terms, sums, the worst of them, limits; single and vector."""

import copy
import json
import pickle

import gymnasium as gym
import numpy as np
import pytest
from cost_envs import MODES, RandomCosts, assert_same, assert_twins_agree
from gymnasium.vector import SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from spi_wrappers import MultiCost, check_cost_env
from spi_wrappers.vector import MultiCost as VectorMultiCost

TERMS = {
    "fast": {"key": "x_velocity", "op": ">", "threshold": 0.5},
    "lives": {"key": "lives", "op": "drops", "scale": 2.0},
    "far": {"key": "y_velocity", "op": "<", "threshold": 1.0},
}
LIMITS = {"fast": 2.0, "lives": 1.0}


class Bare(RandomCosts):
    def __init__(self):
        super().__init__(cost=False)


class WithTerms(RandomCosts):
    """Makes its cost and the terms itself."""

    def __init__(self):
        def spoil(step, info):
            info["cost_terms"] = {"a": info["cost"] / 4, "b": info["cost"] * 3 / 4}

        super().__init__(spoil=spoil)


def episodes(env, seed, num_steps=60):
    """Infos of whole episodes."""
    env.action_space.seed(seed)
    env.reset(seed=seed)
    infos = []
    for _ in range(num_steps):
        *_, terminated, truncated, info = env.step(env.action_space.sample())
        infos.append(info)
        if terminated or truncated:
            yield infos
            infos = []
            env.reset()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_terms_are_what_the_infos_say_and_the_cost_is_their_sum(seed):
    for infos in episodes(MultiCost(Bare(), TERMS, limits=LIMITS), seed):
        lives, sums = -np.inf, dict.fromkeys(TERMS, 0.0)
        for info in infos:
            expected = {
                "fast": float(info["x_velocity"] > 0.5),
                "lives": 2.0 * (info["lives"] < lives),
                "far": float(info["y_velocity"] < 1.0),
            }
            lives = info["lives"]
            assert info["cost_terms"] == expected
            assert info["cost"] == pytest.approx(sum(expected.values()))
            sums = {name: sums[name] + expected[name] for name in sums}
            assert info["cost_sums"] == sums
            assert info["violations"] == {"fast": sums["fast"] > 2.0, "lives": sums["lives"] > 1.0}


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**16), limits=st.sampled_from([None, LIMITS, {"far": 0.5}]))
def test_with_the_worst_an_episode_costs_at_most_1_if_and_only_if_it_keeps_all_limits(seed, limits):
    env = MultiCost(Bare(), TERMS, limits=limits, combine="worst")
    for infos in episodes(env, seed):
        sums = infos[-1]["cost_sums"]
        shares = {name: sums[name] / limit for name, limit in (limits or dict.fromkeys(TERMS, 1.0)).items()}
        assert sum(info["cost"] for info in infos) == pytest.approx(max(shares.values()))
        assert all(info["cost"] >= 0 for info in infos)
        if limits:
            kept = sum(info["cost"] for info in infos) <= 1 + 1e-9
            assert kept is not any(infos[-1]["violations"].values())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("combine", ["sum", "worst"])
@pytest.mark.parametrize(("make", "terms"), [(Bare, TERMS), (WithTerms, None)], ids=["made", "read"])
def test_the_twin_is_a_vector_of_single_ones(make, terms, combine, mode):
    limits = LIMITS if terms else {"b": 1.5}
    assert_twins_agree(
        lambda env: MultiCost(env, terms, limits=limits, combine=combine),
        lambda env: VectorMultiCost(env, terms, limits=limits, combine=combine),
        mode,
        make=make,
    )


def test_a_key_is_a_term():
    env = MultiCost(RandomCosts(cost=False), {"pace": "x_velocity"})
    _, info = env.reset(seed=0)
    assert (info["cost"], info["cost_terms"]) == (0.0, {"pace": 0.0})
    *_, info = env.step(1)
    assert info["cost"] == info["cost_terms"]["pace"] == info["x_velocity"]


@pytest.mark.parametrize("combine", ["sum", "worst"])
def test_check_cost_env_knows_both_ways(combine):
    for env in (MultiCost(Bare(), TERMS, combine=combine), MultiCost(WithTerms(), combine=combine)):
        assert check_cost_env(env).warnings == ()


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"terms": {}}, TypeError, "terms must be a mapping"),
        ({"terms": ["speed"]}, TypeError, "terms must be a mapping"),
        ({"terms": {"a": 1}}, TypeError, r"terms\['a'\] must be a key of the info or keyword arguments"),
        ({"terms": {"a": {"key": "x", "op": "~"}}}, ValueError, r"terms\['a'\]: op must be"),
        ({"terms": {"a": {"kee": "x"}}}, TypeError, r"terms\['a'\]: .*kee"),
        ({"terms": TERMS, "limits": {"slow": 1}}, ValueError, r"limits has names without a term: \['slow'\]"),
        (
            {"terms": TERMS, "limits": {"fast": -1}},
            ValueError,
            r"limits\['fast'\] must be finite and at least 0",
        ),
        (
            {"terms": TERMS, "limits": {"fast": 0}, "combine": "worst"},
            ValueError,
            r"limits\['fast'\] .* above 0",
        ),
        ({"terms": TERMS, "limits": 3}, TypeError, "limits must be a mapping"),
        ({"terms": TERMS, "combine": "mean"}, ValueError, "combine must be 'sum' or 'worst', got 'mean'"),
    ],
)
@pytest.mark.parametrize("vector", [False, True])
def test_bad_arguments_are_named(kwargs, error, message, vector):
    cls, env = (VectorMultiCost, SyncVectorEnv([Bare])) if vector else (MultiCost, Bare())
    with pytest.raises(error, match=message):
        cls(env, **kwargs)


@pytest.mark.parametrize(
    ("make", "kwargs", "message"),
    [
        (RandomCosts, {"terms": TERMS}, "MultiCost makes info.*already has one"),
        (RandomCosts, {}, r"needs the same costs in info.*at every step, got \[\] instead of any"),
        (WithTerms, {"limits": {"c": 1.0}}, r"at every step, got \['a', 'b'\] instead of \['a', 'b', 'c'\]"),
        (
            lambda: RandomCosts(spoil=lambda step, info: info.update(cost_terms=3.0)),
            {},
            r"info\['cost_terms'\] to be a dictionary, got 3.0",
        ),
        (Bare, {}, r"MultiCost needs info\['cost'\] at every step"),
        (Bare, {"terms": {"a": "nothing"}}, r"MultiCost, cost 'a': .*info\['nothing'\]"),
        (
            Bare,
            {
                "terms": {"a": {"key": "x_velocity", "scale": -1e9, "op": "<", "threshold": 9.0}},
                "combine": "worst",
            },
            "needs costs that are not negative",
        ),
        (
            lambda: RandomCosts(spoil=lambda step, info: info.update(cost_terms={"a": float("nan")})),
            {},
            r"MultiCost needs info.*'a'\] to be finite",
        ),
        (
            lambda: RandomCosts(spoil=lambda step, info: info.update(cost_terms={"a": np.ones(2)})),
            {},
            r"MultiCost needs info.*'a'\] to be numbers",
        ),
    ],
)
def test_bad_costs_are_refused(make, kwargs, message):
    env = MultiCost(make(), **kwargs)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(0)


@pytest.mark.parametrize("mode", MODES)
def test_terms_that_come_and_go_are_refused(mode):
    def sometimes(step, info):
        info["cost_terms"] = {"a": 1.0} if step == 4 else {"a": 0.0, "b": 1.0}

    def step_on(env):
        env.reset(seed=0)
        for _ in range(6):
            env.step([0, 0])

    makers = [lambda: RandomCosts(longest=60, spoil=sometimes), WithTerms]
    with pytest.raises(ValueError, match=r"MultiCost needs info\['cost_terms'\]\['b'\] at every step"):
        step_on(VectorMultiCost(SyncVectorEnv(makers, autoreset_mode=mode)))


def test_the_spec_makes_it_again_and_copies_are_equal():
    env = MultiCost(gym.make("tests/RandomCosts-v0", cost=False), TERMS, limits=LIMITS, combine="worst")
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    twins = [again, copy.deepcopy(env), pickle.loads(pickle.dumps(env))]
    first = (env.reset(seed=1), env.step(1), env.step(2))
    for twin in twins:
        assert_same(first, (twin.reset(seed=1), twin.step(1), twin.step(2)))
    vector = VectorMultiCost(SyncVectorEnv([Bare]), TERMS, limits=LIMITS)
    assert json.loads(json.dumps(vector._saved_kwargs)) == vector._saved_kwargs
