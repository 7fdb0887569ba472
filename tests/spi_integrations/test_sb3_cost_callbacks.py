import gymnasium as gym
import numpy as np
import pytest
from cost_envs import RandomCosts
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

import spi_plugins
import spi_wrappers
import spi_wrappers.vector
from spi_integrations.stable_baselines3 import (
    CostEvalCallback,
    CostLogCallback,
    LagrangianCallback,
    StopOnCost,
    VecCostMonitor,
    VecLagrangianReward,
    as_vec_env,
    evaluate_policy_with_cost,
)
from spi_wrappers import Multiplier


class Fixed(gym.Env):
    """Episodes whose length and cost per step are given; the reward is 1 for action 1."""

    def __init__(self, length=4, cost=0.5, box=False):
        self.length, self.cost = length, cost
        self.observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = gym.spaces.Box(-1, 1, (1,), np.float32) if box else gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(2, np.float32), {"cost": 0.0}

    def step(self, action):
        self.t += 1
        reward = float(np.ravel(action)[0])
        return np.zeros(2, np.float32), reward, self.t == self.length, False, {"cost": self.cost}


class Sink(KVWriter):
    def __init__(self):
        self.rows = []

    def write(self, key_values, key_excluded, step=0):
        self.rows.append(dict(key_values))


def small_ppo(env, **kwargs):
    kwargs = {"n_steps": 16, "batch_size": 16, "n_epochs": 1, "policy_kwargs": {"net_arch": [4]}, **kwargs}
    return PPO("MlpPolicy", env, device="cpu", seed=0, **kwargs)


def learn(model, steps, callback):
    sink = Sink()
    model.set_logger(Logger(None, [sink]))
    model.learn(steps, callback=callback)
    return sink.rows


def dummies(*kwargs):
    return DummyVecEnv([lambda k=k: Monitor(Fixed(**k)) for k in kwargs])


class Always:
    """A policy that does one thing."""

    def __init__(self, action=1):
        self.action = action

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        return np.full(len(observation), self.action), state


# Evaluation


def test_an_evaluation_has_the_cost_of_every_episode():
    result = evaluate_policy_with_cost(Always(), dummies({"cost": 0.5}, {"cost": 1.0}), 5)
    assert result.returns.tolist() == [4.0] * 5
    assert sorted(result.costs.tolist()) == [2.0, 2.0, 4.0, 4.0, 4.0]
    assert result.mean_cost == pytest.approx(3.2)
    assert result.std_cost == pytest.approx(np.std([2, 2, 4, 4, 4]))
    assert result.violation_rate(2.0) == pytest.approx(0.6)
    assert (result.mean_return, result.std_return) == (4.0, 0.0)


def test_short_episodes_count_no_more_often_than_long_ones():
    env = dummies({"length": 1, "cost": 1.0}, {"length": 30, "cost": 1.0})
    result = evaluate_policy_with_cost(Always(), env, 6)
    assert sorted(result.lengths.tolist()) == [1, 1, 1, 30, 30, 30]
    assert result.mean_cost == pytest.approx(15.5)


@pytest.mark.parametrize(
    "env",
    [
        lambda: Fixed(),
        lambda: VecCostMonitor(DummyVecEnv([Fixed])),
        lambda: DummyVecEnv([Fixed]),
        lambda: SyncVectorEnv([Fixed] * 3),
        lambda: spi_wrappers.CostMonitor(Monitor(Fixed())),
    ],
)
def test_everything_that_becomes_a_vec_env_can_be_evaluated(env):
    result = evaluate_policy_with_cost(Always(), env(), 4)
    assert result.costs.tolist() == [2.0] * 4
    assert result.returns.tolist() == [4.0] * 4
    assert result.lengths.tolist() == [4] * 4


def test_shaped_rewards_do_not_change_the_return_of_a_monitor_inside():
    env = spi_wrappers.CostPenalty(Monitor(Fixed()), coef=10.0)
    assert evaluate_policy_with_cost(Always(), env, 2).mean_return == 4.0


def test_an_evaluation_without_costs_or_episodes_is_refused():
    with pytest.raises(ValueError, match=r"needs info\['cost'\]"):
        evaluate_policy_with_cost(Always(), RandomCosts(cost=False), 2)
    with pytest.raises(ValueError, match="n_eval_episodes"):
        evaluate_policy_with_cost(Always(), Fixed(), 0)


# Callbacks


def test_costs_are_logged():
    env = dummies({"cost": 0.5}, {"cost": 1.5})
    rows = learn(small_ppo(env), 96, CostLogCallback(limit=3.0))
    assert len(rows) == 3
    for row in rows:
        assert row["rollout/ep_cost_mean"] == pytest.approx(4.0)
        assert row["rollout/cost_rate"] == pytest.approx(1.0)
        assert row["rollout/violation_rate"] == pytest.approx(0.5)


def test_costs_are_logged_off_policy():
    model = SAC("MlpPolicy", Monitor(Fixed(box=True)), learning_starts=1000, buffer_size=100, device="cpu")
    rows = learn(model, 40, CostLogCallback())
    assert rows[-1]["rollout/ep_cost_mean"] == pytest.approx(2.0)


def test_our_algorithms_log_costs_by_themselves():
    model = spi_plugins.make(
        "ppo",
        "MlpPolicy",
        SyncVectorEnv([Fixed] * 2),
        n_steps=16,
        batch_size=16,
        policy_kwargs={"net_arch": [4]},
    )
    row = learn(model, 64, None)[-1]
    assert row["rollout/ep_cost_mean"] == pytest.approx(2.0)
    assert row["rollout/cost_rate"] == pytest.approx(0.5)


def test_training_stops_where_the_last_episodes_cost_too_much():
    model = small_ppo(dummies({"cost": 0.5}))
    learn(model, 200, StopOnCost(1.9, n_episodes=5, verbose=1))
    assert model.num_timesteps == 20
    model = small_ppo(dummies({"cost": 0.5}))
    learn(model, 64, StopOnCost(2.0, n_episodes=5))
    assert model.num_timesteps == 64


@pytest.mark.parametrize("callback", [CostLogCallback(), StopOnCost(1.0)])
def test_callbacks_refuse_environments_without_costs(callback):
    model = small_ppo(DummyVecEnv([lambda: Monitor(RandomCosts(cost=False))]))
    with pytest.raises(ValueError, match=r"needs info\['cost'\]"):
        learn(model, 32, callback)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="limit"):
        StopOnCost(-1.0)
    with pytest.raises(ValueError, match="n_episodes"):
        StopOnCost(1.0, n_episodes=0)
    with pytest.raises(ValueError, match="limit"):
        CostLogCallback(limit=float("nan"))
    with pytest.raises(TypeError, match="multiplier"):
        LagrangianCallback(0.3)
    with pytest.raises(ValueError, match="cost_limit"):
        CostEvalCallback(Fixed(), -1.0)


def test_they_have_names_for_the_command_line():
    assert spi_plugins.get_callback("cost_log") is CostLogCallback
    assert spi_plugins.get_callback("stop_on_cost")(limit=1.0, n_episodes=3).n_calls == 0


# The multiplier


def reward(env):
    return spi_wrappers.LagrangianReward(env, 1.0, lr=0.5)


STACKS = {
    "single": lambda: DummyVecEnv([lambda: reward(Monitor(Fixed()))]),
    "singles": lambda: DummyVecEnv([lambda: reward(Monitor(Fixed()))] * 2),
    "inside_other_wrappers": lambda: DummyVecEnv([lambda: Monitor(reward(Fixed()))] * 2),
    "vector": lambda: as_vec_env(
        spi_wrappers.vector.LagrangianReward(SyncVectorEnv([Fixed] * 2), 1.0, lr=0.5)
    ),
    "vector_of_singles": lambda: as_vec_env(SyncVectorEnv([lambda: reward(Fixed())] * 2)),
    "vec_env": lambda: VecLagrangianReward(dummies({}, {}), 1.0, lr=0.5),
    "processes": lambda: SubprocVecEnv([lambda: reward(Monitor(Fixed()))] * 2, start_method="fork"),
    "async_vector": lambda: as_vec_env(AsyncVectorEnv([lambda: reward(Fixed())] * 2, context="fork")),
}


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning", "ignore:.*fork.*:RuntimeWarning")
@pytest.mark.parametrize("stack", STACKS)
def test_the_multiplier_moves_once_in_a_rollout_wherever_it_stands(stack):
    env = STACKS[stack]()
    callback = LagrangianCallback()
    seen = []

    class Watch(LagrangianCallback):
        def _on_training_start(self):
            pass

        def _on_step(self):
            seen.append([info["lagrange_multiplier"] for info in self.locals["infos"]])
            return True

        def _on_rollout_end(self):
            pass

        def _on_training_end(self):
            pass

    rows = learn(small_ppo(env), 48 * env.num_envs, CallbackList([callback, Watch()]))
    # Every episode costs 2 and the limit is 1, so each rollout adds 0.5 * (2 - 1).
    values = np.repeat([0.0, 0.5, 1.0], 16)[:, None] * np.ones(env.num_envs)
    np.testing.assert_allclose(seen, values)
    assert [row["train/lagrange_multiplier"] for row in rows] == [0.5, 1.0, 1.5]
    assert callback.multiplier.value == 1.5
    env.close()


def test_it_goes_on_where_it_was_in_the_next_training():
    env, callback = STACKS["singles"](), LagrangianCallback()
    model = small_ppo(env)
    learn(model, 32, callback)
    assert not env.envs[0].multiplier.frozen
    model.learn(32, callback=callback, reset_num_timesteps=False)
    assert callback.multiplier.value == 1.0
    assert [single.multiplier.value for single in env.envs] == [1.0, 1.0]


def test_a_multiplier_of_the_user_is_moved():
    multiplier = Multiplier(0.5, pid={"kp": 1.0, "ki": 0.0, "kd": 0.0, "ema_p": 0.0})
    env = STACKS["singles"]()
    learn(small_ppo(env), 32, LagrangianCallback(multiplier))
    assert multiplier.value == pytest.approx(1.5)
    assert env.envs[1].multiplier.value == pytest.approx(1.5)


def test_one_that_is_the_wrappers_own_moves_no_more_often():
    multiplier = Multiplier(1.0, lr=0.5)
    env = DummyVecEnv([lambda: spi_wrappers.LagrangianReward(Monitor(Fixed()), multiplier=multiplier)] * 2)
    learn(small_ppo(env), 64, LagrangianCallback(multiplier))
    assert multiplier.value == 1.0
    assert not multiplier.frozen


def test_a_multiplier_that_is_not_there_or_not_one_is_refused():
    with pytest.raises(ValueError, match="no LagrangianReward"):
        learn(small_ppo(dummies({})), 16, LagrangianCallback())
    env = DummyVecEnv([lambda k=k: spi_wrappers.LagrangianReward(Monitor(Fixed()), k) for k in (1.0, 2.0)])
    with pytest.raises(ValueError, match=r"limits' are|\[1\.0, 2\.0\]"):
        learn(small_ppo(env), 16, LagrangianCallback())
    with pytest.raises(RuntimeError, match="before the training"):
        LagrangianCallback().multiplier  # noqa: B018


def test_our_ppo_is_moved_too():
    env = spi_wrappers.vector.LagrangianReward(SyncVectorEnv([Fixed] * 2), 1.0, lr=0.5)
    model = spi_plugins.make(
        "ppo", "MlpPolicy", env, n_steps=20, batch_size=20, policy_kwargs={"net_arch": [4]}
    )
    learn(model, 80, LagrangianCallback())
    assert env.multiplier.value == 1.0


# Evaluation in the course of training


class Scripted(gym.Env):
    """One-step episodes whose return and cost follow a list, one entry for each evaluation of two episodes."""

    def __init__(self, results):
        self.results, self.count = results, 0
        self.observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        reward, cost = self.results[min(self.count // 2, len(self.results) - 1)]
        self.count += 1
        return np.zeros(2, np.float32), reward, True, False, {"cost": cost, "is_success": reward > 2}


def test_the_best_model_is_the_best_of_those_within_the_limit(tmp_path):
    results = [(9.0, 5.0), (1.0, 1.0), (3.0, 2.0), (8.0, 2.5), (2.0, 0.0)]
    saved = []

    class Saves(CostLogCallback):
        def _on_step(self):
            saved.append((self.parent.last_mean_reward, self.parent.last_mean_cost, self.num_timesteps))
            return True

    model = small_ppo(dummies({}), n_steps=10, batch_size=10)
    callback = CostEvalCallback(
        Monitor(Scripted(results)),
        2.0,
        n_eval_episodes=2,
        eval_freq=10,
        log_path=str(tmp_path / "log"),
        best_model_save_path=str(tmp_path / "best"),
        callback_on_new_best=Saves(),
        verbose=1,
    )
    rows = learn(model, 50, callback)
    assert saved == [(1.0, 1.0, 20), (3.0, 2.0, 30)]
    assert (callback.best_mean_reward, callback.best_mean_cost) == (3.0, 2.0)
    assert PPO.load(tmp_path / "best" / "best_model", device="cpu").num_timesteps == 30
    stored = np.load(tmp_path / "log" / "evaluations.npz")
    np.testing.assert_array_equal(stored["costs"], [[cost] * 2 for _, cost in results])
    np.testing.assert_array_equal(stored["results"], [[value] * 2 for value, _ in results])
    assert stored["timesteps"].tolist() == [10, 20, 30, 40, 50]
    assert stored["successes"].shape == stored["ep_lengths"].shape == (5, 2)
    evaluations = [row for row in rows if "eval/mean_cost" in row]
    assert [row["eval/mean_cost"] for row in evaluations] == [cost for _, cost in results]
    assert [row["eval/mean_reward"] for row in evaluations] == [value for value, _ in results]
    assert [row["eval/violation_rate"] for row in evaluations] == [1.0, 0.0, 0.0, 1.0, 0.0]


def test_without_an_evaluation_within_the_limit_there_is_no_best_model(tmp_path):
    callback = CostEvalCallback(
        make_vec_env("tests/RandomCosts-v0", n_envs=2), 0.0, eval_freq=10, best_model_save_path=str(tmp_path)
    )
    learn(small_ppo(make_vec_env("tests/RandomCosts-v0", n_envs=1)), 16, callback)
    assert callback.best_mean_reward == -np.inf
    assert np.isnan(callback.best_mean_cost)
    assert callback.last_mean_cost > 0
    assert not list(tmp_path.iterdir())
