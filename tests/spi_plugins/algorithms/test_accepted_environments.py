"""Every kind of environment that the constructor accepts trains, with right episodes in the statistics."""

import gymnasium as gym
import pytest
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv, VecNormalize

import spi_plugins
from spi_integrations.envpool import make_vec
from spi_plugins import PPO
from spi_plugins.algorithms.compiled_collector import CompiledCollector
from spi_plugins.algorithms.step_collector import StepCollector
from spi_plugins.algorithms.vec_envs import FunctionalVecEnv
from spi_plugins.envs.cartpole import make_cartpole
from spi_plugins.envs.pixel_goal import make_pixel_goal

envpool = pytest.importorskip("envpool")

SMALL = {"n_steps": 32, "batch_size": 32, "n_epochs": 1, "policy_kwargs": {"net_arch": [8]}, "seed": 0}


def cartpole():
    return gym.make("CartPole-v1")


def raw_pool(env_id):
    return envpool.make(env_id, env_type="gymnasium", num_envs=2, seed=0)


def vector(mode):
    return gym.make_vec(
        "CartPole-v1", num_envs=2, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}
    )


KINDS = {
    "Env": (cartpole, StepCollector),
    "DummyVecEnv": (lambda: make_vec_env("CartPole-v1", 2), StepCollector),
    "SubprocVecEnv": (lambda: make_vec_env("CartPole-v1", 2, vec_env_cls=SubprocVecEnv), StepCollector),
    "next-step VectorEnv": (lambda: vector(AutoresetMode.NEXT_STEP), StepCollector),
    "same-step VectorEnv": (lambda: vector(AutoresetMode.SAME_STEP), StepCollector),
    "VectorEnv without autoreset": (lambda: vector(AutoresetMode.DISABLED), StepCollector),
    "envpool": (
        lambda: envpool.make("CartPole-v1", env_type="gymnasium", num_envs=2, seed=0),
        CompiledCollector,
    ),
    "make_vec": (lambda: make_vec("CartPole-v1", 2), CompiledCollector),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_environment_of_any_kind_trains(kind):
    make, collector = KINDS[kind]
    check(PPO("MlpPolicy", make(), **SMALL), n_envs=1 if kind == "Env" else 2, collector=collector)


@pytest.mark.parametrize(
    ("env", "collector"), [("CartPole-v1", StepCollector), (make_cartpole(), CompiledCollector)]
)
def test_of_an_id_and_a_functional_environment_copies_are_made(env, collector):
    check(PPO("MlpPolicy", env, n_envs=2, **SMALL), n_envs=2, collector=collector)


def check(model, *, n_envs, collector):
    assert isinstance(model.get_env(), VecEnv)
    assert model.n_envs == model.get_env().num_envs == n_envs
    assert model.learn(128) is model
    assert model.num_timesteps == 128
    assert type(model._collector) is collector
    assert len(model.ep_info_buffer) >= 2
    # A step of CartPole pays 1, so a transition lost or counted twice at an episode's end would show.
    assert all(episode["r"] == episode["l"] >= 8 for episode in model.ep_info_buffer)
    model.get_env().close()


def test_a_functional_environment_is_copied_128_times_by_default():
    model = PPO("MlpPolicy", make_cartpole(), policy_kwargs={"net_arch": [8]})
    assert (model.n_envs, model.n_steps, model.batch_size) == (128, 16, 64)


@pytest.mark.parametrize(
    ("n_envs", "given", "chosen"),
    [
        (1, {}, (2048, 64)),
        (8, {}, (256, 64)),
        (13, {}, (128, 64)),
        (2000, {}, (16, 1000)),
        (2, {"n_steps": 5}, (5, 10)),
        (1, {"n_steps": 70}, (70, 70)),
        (2, {"batch_size": 128}, (1024, 128)),
        (8, {"n_steps": 2048}, (2048, 64)),
    ],
)
def test_sizes_that_are_left_open_suit_the_number_of_copies(n_envs, given, chosen):
    env = make_cartpole()
    model = PPO("MlpPolicy", env, n_envs=n_envs, policy_kwargs={"net_arch": [8]}, **given)
    assert (model.n_steps, model.batch_size) == chosen


def test_sizes_for_images_are_the_papers():
    kwargs = {"net_arch": [8], "conv_layers": [(4, 8, 8)]}
    model = PPO("CnnPolicy", make_pixel_goal(), n_envs=3, policy_kwargs=kwargs)
    assert (model.n_steps, model.batch_size) == (340, 255)
    steps = PPO.hyperparameters["n_steps"].by_policy.cnn.value
    assert [steps(n_envs) for n_envs in (1, 128, 2000)] == [1024, 8, 1]


def test_compiled_false_steps_in_python_and_true_insists():
    model = PPO("MlpPolicy", make_cartpole(), n_envs=2, compiled=False, **SMALL).learn(64)
    assert type(model._collector) is StepCollector
    with pytest.raises(ValueError, match=r"compiled=True is not possible here: only functional and envpool"):
        PPO("MlpPolicy", make_vec_env("CartPole-v1", 2), compiled=True, **SMALL).learn(64)


def test_set_env_goes_on_with_another_environment_of_the_same_spaces():
    model = PPO("MlpPolicy", make_cartpole(), n_envs=2, **SMALL).learn(64)
    other = VecNormalize(FunctionalVecEnv(make_cartpole(), 2, seed=1), norm_obs=False)
    model.set_env(other)
    assert model.get_env() is other
    assert model.learn(64, reset_num_timesteps=False).num_timesteps == 128
    assert type(model._collector) is StepCollector
    model.set_env(make_cartpole())
    assert model.get_env().num_envs == 2
    assert model.learn(64, reset_num_timesteps=False).num_timesteps == 192
    assert type(model._collector) is CompiledCollector


def test_make_builds_by_the_registered_name():
    env = make_vec_env("CartPole-v1", 2)
    model = spi_plugins.make("deep_spi", "MlpPolicy", env, transition_density="deterministic", **SMALL)
    assert type(model) is spi_plugins.DeepSPI
    assert model.get_env() is env
