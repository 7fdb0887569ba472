import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.env_util import unwrap_wrapper
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from spi_plugins.algorithms.vec_envs import EnvPoolVecEnv, FunctionalVecEnv, GymVectorEnvAdapter, as_vec_env
from spi_plugins.envs.cartpole import make_cartpole


def test_a_vec_env_is_returned_as_it_is():
    env = VecNormalize(DummyVecEnv([lambda: gym.make("CartPole-v1")]))
    assert as_vec_env(env) is env
    assert as_vec_env(env, n_envs=1) is env


def test_a_vector_env_is_adapted():
    env = as_vec_env(gym.make_vec("CartPole-v1", 3, vectorization_mode="sync"))
    assert isinstance(env, GymVectorEnvAdapter)
    assert env.num_envs == 3


def test_an_envpool_env_is_told_from_a_single_one():
    envpool = pytest.importorskip("envpool")
    env = as_vec_env(envpool.make("CartPole-v1", env_type="gymnasium", num_envs=3))
    assert isinstance(env, EnvPoolVecEnv)
    assert env.num_envs == 3
    with pytest.raises(TypeError, match="env_type='gymnasium'"):
        as_vec_env(envpool.make("CartPole-v1", env_type="dm", num_envs=3))
    single_wrapper = gym.Wrapper(envpool.make("CartPole-v1", env_type="gymnasium", num_envs=3))
    with pytest.raises(TypeError, match=r"gymnasium\.wrappers\.vector"):
        as_vec_env(single_wrapper)


def test_a_functional_env_is_copied():
    env = as_vec_env(make_cartpole(), n_envs=5)
    assert isinstance(env, FunctionalVecEnv)
    assert env.num_envs == 5
    assert as_vec_env(make_cartpole()).num_envs == 1


def test_a_single_env_is_monitored_once():
    env = as_vec_env(gym.make("CartPole-v1"))
    assert isinstance(env, DummyVecEnv)
    assert env.env_is_wrapped(Monitor) == [True]
    monitored = Monitor(gym.make("CartPole-v1"))
    assert unwrap_wrapper(as_vec_env(monitored).envs[0], Monitor) is monitored


def test_an_id_makes_monitored_copies():
    env = as_vec_env("CartPole-v1", n_envs=3)
    assert env.num_envs == 3
    assert env.env_is_wrapped(Monitor) == [True] * 3
    assert len(np.unique(env.reset(), axis=0)) == 3
    with pytest.raises(gym.error.NameNotFound):
        as_vec_env("CardPole-v1")


@pytest.mark.parametrize("env", [None, 3, gym.make, ["CartPole-v1"], gym.spaces.Discrete(2)])
def test_anything_else_is_refused_by_name(env):
    with pytest.raises(TypeError, match=rf"VecEnv.*FunctionalEnv.*id.*got .*{type(env).__name__}"):
        as_vec_env(env)


def test_a_number_of_copies_that_cannot_be_had_is_refused():
    with pytest.raises(ValueError, match="n_envs=2 does not fit an environment with 1 copies"):
        as_vec_env(gym.make("CartPole-v1"), n_envs=2)
    with pytest.raises(ValueError, match="at least 1"):
        as_vec_env("CartPole-v1", n_envs=0)
