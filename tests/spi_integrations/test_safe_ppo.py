import gymnasium as gym
import numpy as np
import pytest
from cost_envs import RandomCosts
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.vec_env import DummyVecEnv

import spi_plugins
from spi_integrations.stable_baselines3 import VecCostMonitor, evaluate_policy_with_cost

NAMES = ("ppo_saute", "ppo_early")
SMALL = {"n_steps": 8, "batch_size": 8, "n_epochs": 1, "policy_kwargs": {"net_arch": [8]}, "seed": 0}


def make(name, env=None, **kwargs):
    env = make_vec_env("tests/RandomCosts-v0", n_envs=2) if env is None else env
    return spi_plugins.make(name, "MlpPolicy", env, **{**SMALL, **kwargs})


class Sink(KVWriter):
    def __init__(self):
        self.rows = []

    def write(self, key_values, key_excluded, step=0):
        self.rows.append(dict(key_values))


def learn(model, steps=64):
    sink = Sink()
    model.set_logger(Logger(None, [sink]))
    model.learn(steps)
    return sink.rows


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "env",
    [
        RandomCosts,
        lambda: "tests/RandomCosts-v0",
        lambda: SyncVectorEnv([RandomCosts] * 2),
        lambda: SyncVectorEnv([RandomCosts] * 2, autoreset_mode=AutoresetMode.SAME_STEP),
        lambda: spi_plugins.make_env("spi/CostCartPole-v0"),
    ],
    ids=["env", "id", "next_step", "same_step", "functional"],
)
def test_every_kind_of_environment_is_wrapped(name, env):
    env = env()
    copies = {} if isinstance(env, gym.Env | SyncVectorEnv) else {"n_envs": 2}
    wrapped = make(name, env, cost_limit=2.0, **copies).get_env()
    wrapped.reset()
    episodes = 0
    for _ in range(60):
        _, _, dones, infos = wrapped.step(np.zeros(wrapped.num_envs, int))
        for i in np.flatnonzero(dones):
            assert {"r", "l", "c", "cost_rate"} <= set(infos[i]["episode"])
            episodes += 1
    assert episodes > 1


@pytest.mark.parametrize("name", NAMES)
def test_the_log_has_costs(name):
    last = learn(make(name))[-1]
    assert last["rollout/ep_cost_mean"] > 0
    assert 0 < last["rollout/cost_rate"] < 3


def test_saute_is_evaluated_on_what_it_wraps(tmp_path):
    model = make("ppo_saute", cost_limit=3.0, unsafe_reward=-2.0)
    assert model.observation_space.shape == (4,)
    learn(model)
    model.save(tmp_path / "model")
    fresh = make_vec_env("tests/RandomCosts-v0", n_envs=2)
    for loaded in (type(model).load(tmp_path / "model", env=fresh), type(model).load(tmp_path / "model")):
        result = evaluate_policy_with_cost(loaded, loaded.wrap_env(fresh), 4)
        assert len(result.costs) == 4


def test_no_episode_of_early_termination_goes_on_above_the_limit():
    model = make("ppo_early", cost_limit=2.0, limit_reward=-5.0)
    learn(model, 128)
    costs = [episode["c"] for episode in model.ep_info_buffer]
    assert max(costs) <= 4  # 2, and one step of at most 2
    assert any(cost > 2 for cost in costs)
    later = make_vec_env("tests/RandomCosts-v0", n_envs=2)
    model.set_env(model.get_env())
    model.set_env(later)
    learn(model, 32)
    model.set_env("tests/RandomCosts-v0")  # as many copies as before
    assert model.get_env().num_envs == 2


def test_what_cannot_be_ended_is_refused():
    wrapped = VecCostMonitor(DummyVecEnv([RandomCosts] * 2))
    with pytest.raises(TypeError, match="CostLimit"):
        make("ppo_early", wrapped)


def test_bad_arguments_are_named():
    for name in NAMES:
        with pytest.raises(ValueError, match="limit"):
            make(name, cost_limit=-1.0)
        with pytest.raises(TypeError, match="constraint"):
            make(name, constraint="pid")
