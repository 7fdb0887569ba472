"""``check_cost_env`` finds each fault, names it with its place, and is content with what is right."""

import pickle

import gymnasium as gym
import numpy as np
import pytest
from cost_envs import MODES, RandomCosts
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorWrapper

from spi_wrappers import (
    CostMonitor,
    CostPenalty,
    LagrangianReward,
    NormalizeCost,
    SauteBudget,
    check_cost_env,
)
from spi_wrappers import vector as twins
from spi_wrappers.cost.check import CostEnvError


def spoiled(**changes):
    """Every third step's info has these entries, or lacks those that are ``None``."""

    def spoil(step, info):
        if step % 3 == 0:
            info.update(changes)
            for key in [key for key, value in changes.items() if value is None]:
                del info[key]

    return RandomCosts(spoil=spoil)


class AtReset(gym.Wrapper):
    """Other infos at resets."""

    def __init__(self, env, info):
        super().__init__(env)
        self.info = info

    def reset(self, **kwargs):
        return self.env.reset(**kwargs)[0], self.info


class SixValues(gym.Wrapper):
    def __init__(self, env, drop):
        super().__init__(env)
        self.drop = drop

    def step(self, action):
        obs, reward, terminated, truncated, info = self.env.step(action)
        cost = info.pop("cost") if self.drop else info["cost"]
        return obs, reward, cost, terminated, truncated, info


def errors(env, **kwargs):
    return "\n".join(check_cost_env(env, raise_errors=False, **kwargs).errors)


@pytest.mark.parametrize(
    "make",
    [
        RandomCosts,
        lambda: CostMonitor(RandomCosts(dict_obs=True), limit=2.0),
        lambda: SauteBudget(CostMonitor(gym.wrappers.TimeLimit(RandomCosts(), 5)), budget=3.0),
        lambda: NormalizeCost(CostPenalty(LagrangianReward(CostMonitor(RandomCosts()), 1.0), coef=1.0)),
    ],
)
def test_a_right_environment_has_no_fault(make):
    report = check_cost_env(make(), steps=200)
    assert report.ok
    assert report.errors == report.warnings == ()
    assert report.steps == 200
    assert len(report.episode_costs) > 10
    assert "0 errors, 0 warnings" in str(report)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda env: env,
        lambda env: twins.CostMonitor(env, limit=2.0),
        lambda env: twins.NormalizeCost(twins.LagrangianReward(twins.SauteBudget(env, budget=3.0), 1.0)),
    ],
)
def test_a_right_vector_environment_has_no_fault(wrap, mode):
    env = wrap(
        SyncVectorEnv([lambda: CostMonitor(RandomCosts(), stats_key="stats")] * 3, autoreset_mode=mode)
    )
    report = check_cost_env(env, steps=60)
    assert report.errors == report.warnings == ()
    assert 60 < report.steps <= 180


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (
            spoiled(cost=None),
            r"info\['cost'\] is missing; it must be there.* \(first at step 3, 13 times",
        ),
        (spoiled(cost=float("nan")), r"info\['cost'\] is nan; it must be finite \(first at step 3"),
        (spoiled(cost=-0.5), r"info\['cost'\] is -0.5; costs are not negative"),
        (spoiled(cost="1"), r"info\['cost'\] must be a float, got str '1'"),
        (spoiled(cost=np.ones(1)), r"info\['cost'\] must be a float, got float64 of shape \(1,\)"),
        (spoiled(cost=3.0, cost_terms={"a": 1.0, "b": 1.5}), r"is 3, but its cost_terms add up to 2.5"),
        (spoiled(cost_terms=[1.0]), r"cost_terms must be a dictionary, got a list of 1"),
        (spoiled(cost_terms={"a": float("inf")}), r"cost_terms\['a'\] must be a finite number, got inf"),
        (AtReset(RandomCosts(), {}), r"info\['cost'\] is missing at reset; give 0.0"),
        (AtReset(RandomCosts(), {"cost": 1.0}), r"info\['cost'\] is 1.0 at reset instead of 0.0"),
        (RandomCosts(cost=False), r"make one: spi_wrappers.CostFromInfo"),
        (SixValues(RandomCosts(), drop=True), r"six values.*spi_wrappers.SixTupleToInfo"),
        (SixValues(RandomCosts(), drop=False), r"There is a cost in info\['cost'\], too"),
    ],
)
def test_each_fault_of_a_single_environment_is_named_with_its_place(env, message):
    with pytest.raises(CostEnvError, match=f"(?s){message}"):
        check_cost_env(env, steps=40)


def test_a_cost_may_be_the_largest_of_its_terms_as_well_as_their_sum():
    for terms in ({"a": 1.0, "b": 1.0}, {"a": 0.25, "b": 0.75}):
        report = check_cost_env(spoiled(cost=1.0, cost_terms=terms), steps=40)
        assert report.ok, report


def test_several_faults_are_reported_together():

    def spoil(step, info):
        info["cost_terms"] = {"a": 7.0}
        if step == 5:
            info["cost"] = -1.0

    env = AtReset(RandomCosts(spoil=spoil), {})
    found = check_cost_env(env, steps=40, raise_errors=False)
    assert not found.ok
    assert len(found.errors) == 3
    assert str(found).count("\n  error: ") == 3


def test_an_episode_that_is_counted_wrongly_is_an_error():
    class Forgets(gym.Wrapper):
        def step(self, action):
            obs, reward, terminated, truncated, info = self.env.step(action)
            if terminated or truncated:
                info["episode"] = {"c": 100.0}
            return obs, reward, terminated, truncated, info

    assert "info['episode']['c'] is 100, but the costs of the episode add up to" in errors(
        Forgets(RandomCosts())
    )


def test_what_the_environment_raises_is_part_of_the_report():
    env = CostMonitor(spoiled(cost=None))
    assert "step() raised ValueError: CostMonitor needs info['cost'] at every step" in errors(env)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (
            gym.wrappers.TimeLimit(CostMonitor(RandomCosts()), 3),
            "TimeLimit would end episodes without CostMonitor",
        ),
        (
            gym.wrappers.RecordEpisodeStatistics(CostPenalty(RandomCosts(), coef=1.0)),
            "RecordEpisodeStatistics would count the shaped reward",
        ),
        (
            SyncVectorEnv([lambda: gym.wrappers.TimeLimit(SauteBudget(RandomCosts(), budget=1.0), 3)]),
            "TimeLimit would end episodes without SauteBudget",
        ),
    ],
)
def test_a_wrong_order_of_wrappers_is_an_error(env, message):
    assert f"Wrong order of wrappers: {message}" in errors(env, steps=20)


def test_what_may_be_meant_is_a_warning():
    report = check_cost_env(RandomCosts(spoil=lambda step, info: info.update(cost=np.float32(0))), steps=3)
    assert report.ok
    text = "\n".join(report.warnings)
    assert "info['cost'] is of type float32" in text
    assert "The cost was 0 at every step" in text
    assert "No episode ended in 2 calls" in "\n".join(check_cost_env(RandomCosts(), steps=2).warnings)


class Spoiled(VectorWrapper):
    """Infos and rewards changed on the way out."""

    def __init__(self, env, spoil):
        super().__init__(env)
        self.spoil, self.steps = spoil, 0

    def reset(self, **kwargs):
        obs, infos = self.env.reset(**kwargs)
        self.spoil(infos, self.steps)
        return obs, infos

    def step(self, actions):
        self.steps += 1
        *rest, infos = self.env.step(actions)
        self.spoil(infos, self.steps)
        return *rest, infos


def put_cost(value, row=None):
    def spoil(infos, step):
        if step % 5 == 4:
            if row is None:
                infos["cost"] = value
            else:
                infos["cost"][row] = value

    return spoil


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            put_cost(np.zeros((3, 1))),
            r"infos\['cost'\] must be float64 of shape \(3,\), got float64 of shape \(3, 1\)",
        ),
        (put_cost(np.array(["1"] * 3)), r"infos\['cost'\] must be float64 of shape \(3,\), got <U1"),
        (put_cost(float("nan"), 1), r"is nan; it must be finite \(.*in row 1"),
        (put_cost(-1.0, 2), r"is -1; costs are not negative .*\(.*in row 2"),
        (lambda infos, step: infos.pop("cost"), "is missing or masked"),
        (lambda infos, step: infos["_cost"].__setitem__(1, False), r"masked by infos\['_cost'\].*in row 1"),
    ],
)
def test_each_fault_of_a_vector_environment_is_named_with_its_row(spoil, message, mode):
    env = Spoiled(SyncVectorEnv([lambda: RandomCosts(longest=30)] * 3, autoreset_mode=mode), spoil)
    with pytest.raises(CostEnvError, match=message):
        check_cost_env(env, steps=40)


def test_a_cost_in_a_row_that_is_reset_in_place_of_a_step_is_an_error():
    env = SyncVectorEnv(
        [lambda: AtReset(RandomCosts(), {"cost": 2.0})] * 2, autoreset_mode=AutoresetMode.NEXT_STEP
    )
    found = errors(env)
    assert "infos['cost'] is 2 at reset instead of 0" in found
    assert "infos['cost'] is 2 in rows that are reset and not stepped instead of 0" in found


def test_a_reward_in_a_row_that_is_reset_in_place_of_a_step_is_an_error():
    env = twins.CostMonitor(SyncVectorEnv([RandomCosts] * 2))
    env = gym.wrappers.vector.TransformReward(env, lambda reward: reward + 1.0)
    assert "reward is 1 in rows that are reset and not stepped instead of 0" in errors(env)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("final_info", r"infos\['final_info'\]\['cost'\] is missing. Under SAME_STEP"),
        ("final_obs", r"infos\['final_obs'\] is missing: agents cannot bootstrap"),
    ],
)
def test_what_same_step_needs_at_an_episodes_end_is_named(key, message):
    env = SyncVectorEnv([RandomCosts] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    with pytest.raises(CostEnvError, match=message):
        check_cost_env(Spoiled(env, lambda infos, step: infos.pop(key, None)))


def test_a_cost_that_is_both_final_and_fresh_is_an_error():
    def spoil(infos, step):
        if "final_info" in infos:
            ended = infos["_final_info"]
            infos["cost"] = np.where(ended, 1.0 + infos["final_info"]["cost"], infos["cost"])

    env = SyncVectorEnv([RandomCosts] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    assert "in rows that were reset instead of 0" in errors(Spoiled(env, spoil))


def test_an_environment_that_ignores_the_reset_mask_is_an_error():
    class ResetsAll(VectorWrapper):
        def reset(self, *, seed=None, options=None):
            return self.env.reset(seed=seed)

    env = ResetsAll(SyncVectorEnv([RandomCosts] * 3, autoreset_mode=AutoresetMode.DISABLED))
    assert "changed the observations of rows that it must leave alone" in errors(env)


def test_a_vector_environment_must_say_its_autoreset_mode():
    env = SyncVectorEnv([RandomCosts])
    env.metadata = {}
    assert "metadata['autoreset_mode'] must be" in errors(env)


def test_a_policy_chooses_the_actions():
    seen = []

    def policy(observation):
        seen.append(observation.shape)
        return np.array([1, 2])

    check_cost_env(SyncVectorEnv([RandomCosts] * 2), steps=7, policy=policy)
    assert seen == [(2, 3)] * 7


def test_the_report_names_the_wrappers_and_the_id():
    single = CostMonitor(gym.make("tests/RandomCosts-v0"))
    text = str(check_cost_env(single, steps=3))
    assert text.startswith(
        "Costs of CostMonitor(OrderEnforcing(PassiveEnvChecker(RandomCosts))) [tests/RandomCosts-v0]"
    )
    text = str(check_cost_env(twins.CostPenalty(SyncVectorEnv([lambda: single]), coef=1.0), steps=3))
    assert text.startswith("Costs of CostPenalty(SyncVectorEnv(CostMonitor(")


@pytest.mark.filterwarnings("ignore:.*precision lowered by casting:UserWarning")  # of EnvPool's own spaces
@pytest.mark.filterwarnings("ignore:EnvPool seeds are fixed:UserWarning")
def test_an_envpool_environment_is_a_vector_environment():
    envpool = pytest.importorskip("envpool")
    env = envpool.make("CartPole-v1", env_type="gymnasium", num_envs=3, seed=0)
    report = check_cost_env(
        twins.SauteBudget(twins.CostFromInfo(env, "elapsed_step"), budget=100.0), steps=40
    )
    assert report.errors == ()
    assert len(report.episode_costs) > 2


def test_bad_arguments_are_named():
    with pytest.raises(TypeError, match=r"env must be a gymnasium.Env .* got str"):
        check_cost_env("CartPole-v1")
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        check_cost_env(RandomCosts(), steps=0)
    with pytest.raises(TypeError, match="raise_errors must be True or False"):
        check_cost_env(RandomCosts(), raise_errors=None)


def test_the_error_survives_a_pickle():
    with pytest.raises(CostEnvError) as caught:
        check_cost_env(spoiled(cost=None))
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert again.report.errors == caught.value.report.errors
