"""Errors name the argument, what came and what is allowed."""

import gymnasium as gym
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecNormalize
from tiny_models import CARTPOLE, SMALL, tiny_ppo, tiny_tdmpc2
from toy_envs import CHANNELS_LAST, MIXED, VECTOR, ToyEnv

from spi_plugins import PPO, DeepSPI, fit_world_model
from spi_plugins.algorithms.policies import CnnPolicy, MlpPolicy, MultiInputPolicy
from spi_plugins.algorithms.vec_envs import FunctionalVecEnv
from spi_plugins.envs.probe import make_probe

UNBOUNDED = spaces.Box(-np.inf, np.inf, (2,), np.float32)


def ppo(policy="MlpPolicy", env=CARTPOLE, **kwargs):
    # Without set-up where that does not matter: nothing is compiled.
    return PPO(policy, env, **kwargs)


def closed(env):
    env.close()
    return env


def policy_kwargs(**kwargs):
    return {"policy_kwargs": kwargs, "n_envs": 2}


ENVIRONMENTS = {
    "None": (None, r"env is missing; without one, use load\(\)"),
    "a number": (3, r"env must be .*VecEnv.*; got builtins\.int"),
    "a class": (ToyEnv, r"env must be .*; got builtins\.type"),
    "an unknown id": ("CartPool-v1", "CartPool"),
    "Text observations": (
        ToyEnv(spaces.Dict({"a": MIXED, "b": spaces.Text(3)})),
        r"observation space at 'b', Text.*Allowed: Box, Discrete",
    ),
    "Dict actions": (ToyEnv(VECTOR, MIXED), r"action space Dict.*not supported. Allowed: Discrete"),
    "unbounded actions": (ToyEnv(VECTOR, UNBOUNDED), r"action space Box\(-inf, inf, \(2,\).*finite bounds"),
    "unbounded integers as actions": (
        ToyEnv(VECTOR, spaces.Box(-np.inf, 3, (2,), np.int64)),
        r"action space Box.*finite bounds",
    ),
}


@pytest.mark.parametrize("kind", ENVIRONMENTS)
def test_environments_that_cannot_be_used_are_refused(kind):
    env, message = ENVIRONMENTS[kind]
    with pytest.raises((ValueError, TypeError, gym.error.NameNotFound), match=message):
        ppo(env=env)


@pytest.mark.parametrize(
    "make",
    [
        lambda: closed(FunctionalVecEnv(CARTPOLE, 2)),
        lambda: closed(gym.make_vec("CartPole-v1", 2, vectorization_mode="sync")),
        lambda: closed(SubprocVecEnv([lambda: gym.make("CartPole-v1")])),
    ],
    ids=["functional", "gymnasium vector", "subprocesses"],
)
def test_a_closed_environment_is_refused(make):
    with pytest.raises(ValueError, match="env is closed"):
        ppo(env=make())


def test_an_environment_closed_since_is_refused_by_learn():
    model = tiny_ppo()
    model.get_env().close()
    with pytest.raises(ValueError, match=r"env is closed: .*set_env\(env\)"):
        model.learn(8)


ARGUMENTS = {
    "learning_rate negative": (
        {"learning_rate": -1e-3},
        r"learning_rate must be a number at least 0, got -0\.001.*function",
    ),
    "learning_rate infinite": ({"learning_rate": np.inf}, "learning_rate must be a number.* got inf"),
    "learning_rate text": ({"learning_rate": "log_3e-4"}, "learning_rate must be .* got 'log_3e-4'"),
    "clip_range zero": ({"clip_range": 0}, "clip_range must be a number above 0, got 0"),
    "clip_range negative": ({"clip_range": -0.1}, r"clip_range must be a number above 0, got -0\.1"),
    "clip_range_vf": ({"clip_range_vf": 0.0}, "clip_range_vf must be a number above 0, got 0.0"),
    "gamma": ({"gamma": 1.5}, r"gamma must be a number at least 0 and at most 1, got 1\.5"),
    "gae_lambda": ({"gae_lambda": -1}, "gae_lambda must be .* got -1"),
    "ent_coef": ({"ent_coef": -1}, "ent_coef must be .* got -1"),
    "vf_coef": ({"vf_coef": np.nan}, "vf_coef must be .* got nan"),
    "max_grad_norm": ({"max_grad_norm": 0}, "max_grad_norm must be a number above 0, got 0"),
    "target_kl": ({"target_kl": 0}, "target_kl must be a number above 0, got 0"),
    "n_steps": ({"n_steps": 0}, "n_steps must be an integer of at least 1, got 0"),
    "n_steps float": ({"n_steps": 8.0}, r"n_steps must be an integer of at least 1, got 8\.0"),
    "batch_size": ({"batch_size": 1}, "batch_size must be at least 2, got 1: .* normalize_advantage=False"),
    "one transition": ({"n_envs": 1, "n_steps": 1}, r"n_steps \* n_envs = 1 \* 1 = 1 must be at least 2"),
    "n_epochs": ({"n_epochs": 0}, "n_epochs must be an integer of at least 1, got 0"),
    "n_envs": ({"n_envs": 0}, "n_envs must be an integer of at least 1 .*got 0"),
    "n_envs of an id": (
        {"env": "CartPole-v1", "n_envs": 20_000},
        "n_envs must be at most 10000 for an id, got 20000: each copy is an object in Python",
    ),
    "n_envs for no memory": ({"n_envs": 10**9}, "n_envs must be an integer of .* at most .* got 1000000000"),
    "n_steps for no memory": (
        {"n_steps": 10**13},
        r"A rollout of n_steps \* n_envs = 10000000000000 .* takes \d+ bytes, more than the memory",
    ),
    "n_epochs for no memory": ({"n_epochs": 10**12}, r"takes \d+ bytes, more than the memory"),
    "n_envs of a VecEnv": (
        {"env": FunctionalVecEnv(CARTPOLE, 2), "n_envs": 4},
        "n_envs=4 does not fit an environment with 2 copies",
    ),
    "seed": ({"seed": -1}, "seed must be an integer of at least 0, got -1"),
    "verbose": ({"verbose": "yes"}, "verbose must be an integer of at least 0, got 'yes'"),
    "stats_window_size": (
        {"stats_window_size": 0},
        "stats_window_size must be an integer of at least 1 .*got 0",
    ),
    "compiled": ({"compiled": "yes"}, "compiled must be one of None, True, False, got 'yes'"),
    "device": ({"device": "gpuu"}, r"device='gpuu' is not available; JAX finds cpu here. Allowed are 'auto'"),
    "device number": ({"device": "cpu:99"}, "device='cpu:99' is not available"),
    "policy": (
        {"policy": "MlpPolcy"},
        r"policy='MlpPolcy' is unknown. Did you mean 'MlpPolicy'\? Allowed: MlpPolicy",
    ),
    "policy class": ({"policy": dict}, "policy must be one of 'MlpPolicy'.* got <class 'dict'>"),
    "policy_kwargs": (
        policy_kwargs(netarch=[8]),
        r"policy_kwargs has unknown keys \['netarch'\]; allowed are net_arch",
    ),
    "policy_kwargs no dict": ({"policy_kwargs": [8]}, r"policy_kwargs must be a dict.* got \[8\]"),
    "activation_fn": (
        policy_kwargs(activation_fn="rellu"),
        r"activation_fn must be one of \[.*'relu'.* got 'rellu'",
    ),
    "activation_fn of ours": (
        policy_kwargs(activation_fn=closed),
        "activation_fn must be .* got <function closed",
    ),
    "net_arch fraction": (
        policy_kwargs(net_arch=[8.5]),
        r"net_arch needs positive integers, got pi=\(8.5,\)",
    ),
    "net_arch nested": (policy_kwargs(net_arch=[8, {"pi": [8]}]), "net_arch needs positive integers"),
    "optimizer_class": (
        policy_kwargs(optimizer_class=torch.optim.SGD),
        "optimizer_class must be torch's or optax's Adam or AdamW, got <class 'torch.optim.sgd.SGD'>",
    ),
    "optimizer_kwargs": (
        policy_kwargs(optimizer_kwargs={"lr": 0.1}),
        r"optimizer_kwargs has unknown keys \['lr'\]; allowed are b1, b2, eps, weight_decay",
    ),
    "optimizer_kwargs betas": (
        policy_kwargs(optimizer_kwargs={"betas": 0.9}),
        "betas=0.9; it must be two numbers",
    ),
    "optimizer_kwargs eps": (
        policy_kwargs(optimizer_kwargs={"eps": 0}),
        "eps must be a number above 0, got 0",
    ),
    "normalize_images": (
        policy_kwargs(normalize_images=255),
        "normalize_images must be one of True, False, got 255",
    ),
    "net_arch": (policy_kwargs(net_arch=[8, 0]), r"net_arch needs positive integers, got pi=\(8, 0\)"),
    "net_arch text": (policy_kwargs(net_arch="big"), "net_arch must be a list of widths or dict.* got 'big'"),
    "net_arch keys": (policy_kwargs(net_arch={"qf": [8]}), r"net_arch must be .* got \{'qf': \[8\]\}"),
    "log_std_init": (policy_kwargs(log_std_init=99), r"log_std_init.* at least -20 and at most 20, got 99"),
    "conv_layers too large": (
        {"policy": "CnnPolicy", "env": ToyEnv(CHANNELS_LAST), "policy_kwargs": {"conv_layers": [(8, 13, 1)]}},
        r"image of \(12, 14\) pixels is too small for conv_layers=\(\(8, 13, 1\),\)",
    ),
    "conv_layers garbled": (
        {"policy": "CnnPolicy", "env": ToyEnv(CHANNELS_LAST), "policy_kwargs": {"conv_layers": [(8, 3)]}},
        r"conv_layers must be .*\(channels, kernel size, stride\).* got \[\(8, 3\)\]",
    ),
    "image_features": (
        policy_kwargs(image_features=0),
        "image_features must be an integer of at least 1, got 0",
    ),
    "ortho_init": (policy_kwargs(ortho_init="no"), "ortho_init must be one of True, False, got 'no'"),
    "categorical_latent": (
        policy_kwargs(categorical_latent=8),
        r"categorical_latent must be \(categories, classes\), .* got 8",
    ),
    "Dict with MlpPolicy": (
        {"env": ToyEnv(MIXED)},
        "MultiInputPolicy.* dict observation space, not MlpPolicy",
    ),
    "Dict with MlpPolicy's class": ({"env": ToyEnv(MIXED), "policy": MlpPolicy}, "use 'MultiInputPolicy'"),
    "vectors with CnnPolicy": (
        {"policy": "CnnPolicy"},
        r"CnnPolicy reads images .*got box observations of shape \(4,\) and dtype float32; use 'MlpPolicy'",
    ),
    "Dict with CnnPolicy's class": ({"env": ToyEnv(MIXED), "policy": CnnPolicy}, "use 'MultiInputPolicy'"),
    "Box with MultiInputPolicy": (
        {"policy": MultiInputPolicy},
        r"MultiInputPolicy reads Dict observations, got box observations of shape \(4,\); use 'MlpPolicy'",
    ),
}


@pytest.mark.parametrize("kind", ARGUMENTS)
def test_arguments_out_of_range_are_refused(kind):
    kwargs, message = ARGUMENTS[kind]
    with pytest.raises(ValueError, match=message):
        ppo(**kwargs)


MODEL_ARGUMENTS = {
    "transition_density": (
        {"transition_density": "gauss"},
        "transition_density must be one of 'determin.* got 'gauss'",
    ),
    "reward_loss_coef": ({"reward_loss_coef": -1}, "reward_loss_coef must be a number at least 0, got -1"),
    "transition_loss_coef": (
        {"transition_loss_coef": "x"},
        "transition_loss_coef must be a number.* got 'x'",
    ),
    "drift_coef": ({"drift_coef": -1}, "drift_coef must be a number at least 0, got -1"),
    "world_model_kwargs": (
        {"world_model_kwargs": {"components": 3}},
        r"world_model_kwargs has unknown keys \['components'\]; allowed are .*n_components",
    ),
    "n_components": ({"world_model_kwargs": {"n_components": 0}}, "n_components"),
    "an unknown argument": ({"transition_loss": 1}, "unexpected keyword argument 'transition_loss'"),
}


@pytest.mark.parametrize("kind", MODEL_ARGUMENTS)
def test_world_model_arguments_out_of_range_are_refused(kind):
    kwargs, message = MODEL_ARGUMENTS[kind]
    with pytest.raises((ValueError, TypeError), match=message):
        DeepSPI("MlpPolicy", CARTPOLE, n_envs=2, **kwargs)


def test_set_env_insists_on_the_same_spaces_and_copies():
    model = tiny_ppo()
    with pytest.raises(ValueError, match=r"env has 3 copies, the model 2; .*PPO\.load\(path, env=env\)"):
        model.set_env(FunctionalVecEnv(CARTPOLE, 3))
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        model.set_env(make_probe("dict_rule"))


OBSERVATIONS = {
    "a wrong shape": (np.zeros(5), r"observation must have shape \(4,\) or \(batch, 4\), got \(5,\)"),
    "NaN": ([[0, 0, 0, 0], [0, np.nan, 0, 0]], r"observation of environment 1 is not finite: \[ *0\. nan"),
    "infinity": (np.array([np.inf, 0, 0, 0]), "observation of environment 0 is not finite"),
    "text": (["a", "b", "c", "d"], "observation must hold numbers, got dtype <U1"),
    "a dict": ({"a": np.zeros(4)}, "observation must hold numbers|observation must have shape"),
}


@pytest.mark.parametrize("kind", OBSERVATIONS)
def test_observations_that_predict_cannot_read_are_refused(kind):
    observation, message = OBSERVATIONS[kind]
    with pytest.raises(ValueError, match=message):
        tiny_ppo().predict(observation)


def test_dict_observations_that_predict_cannot_read_are_refused():
    model = PPO("MultiInputPolicy", make_probe("dict_rule"), n_envs=2, **SMALL)
    right = {"rule": np.array([0, 1]), "signal": np.zeros((2, 1))}
    assert model.predict(right)[0].shape == (2,)
    for wrong, message in (
        (np.zeros(3), r"must be a dict with the keys \['rule', 'signal'\], got ndarray"),
        ({"rule": 0}, r"must be a dict with the keys \['rule', 'signal'\], got \['rule'\]"),
        ({**right, "rule": 0}, "mixes single entries and batches"),
        (
            {**right, "signal": np.full((2, 1), np.nan)},
            r"observation\['signal'\] of environment 0 is not finite",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            model.predict(wrong)


def spoiled(what):
    """Two environments, the second of which goes wrong at its third step."""

    def spoil(step, observation, reward):
        if step != 3:
            return observation, reward
        return (np.full_like(observation, np.nan), reward) if what == "observation" else (observation, np.inf)

    return DummyVecEnv([ToyEnv, lambda: ToyEnv(spoil=spoil)])


@pytest.mark.parametrize("what", ["observation", "reward"])
def test_a_spoiled_step_of_the_environment_is_named_before_it_is_learned(what):
    model = PPO("MlpPolicy", spoiled(what), **SMALL)
    with pytest.raises(ValueError, match=rf"at time step 6: the {what} of environment 1 is not finite"):
        model.learn(100)
    assert model._n_updates == 0
    assert all(np.isfinite(value).all() for value in model.get_parameters()["policy"].values())
    env = VecNormalize(spoiled(what))
    model.set_env(env)
    spread = pytest.raises(ValueError, match=r"not finite: .* it came from environment 1\.")
    with np.errstate(invalid="ignore"), spread:
        model.learn(100)
    assert np.isfinite(env.obs_rms.mean).all()  # as before the rollout
    assert np.isfinite([*env.returns, env.ret_rms.var]).all()


@pytest.mark.parametrize("what", ["observation", "reward"])
@pytest.mark.parametrize("compiled", [None, False])
def test_a_spoiled_step_of_a_functional_environment_is_named_on_both_paths(what, compiled):
    def at_limit(state):
        return jnp.where(jnp.abs(state[0]) < 0.045, 1.0, jnp.nan)  # some starts are beyond

    replaced = (
        {"observation": lambda state, params: state * at_limit(state)}
        if what == "observation"
        else {"reward": lambda state, action, after, params: at_limit(after)}
    )
    env = CARTPOLE._replace(**replaced)
    model = PPO("MlpPolicy", env, n_envs=16, compiled=compiled, **SMALL)
    with pytest.raises(ValueError, match=rf"at time step \d+: the {what} of environment \d+ is not finite"):
        model.learn(10_000)


@pytest.mark.parametrize("steps", [np.inf, -np.inf, np.nan, -5, 1.5, True, "100"])
@pytest.mark.parametrize("make", [tiny_ppo, tiny_tdmpc2])
def test_numbers_of_steps_that_are_none_are_refused(make, steps):
    with pytest.raises(ValueError, match="total_timesteps must be an integer of at least 0, got"):
        make().learn(steps)
    for name in ("n_steps", "n_updates"):
        with pytest.raises(ValueError, match=f"{name} must be an integer of at least 1, got"):
            fit_world_model(CARTPOLE, **{name: steps})


def test_whole_numbers_of_steps_may_be_floats():
    assert tiny_ppo().learn(1.6e1).num_timesteps == 16
    assert tiny_ppo().learn(np.float64(8)).num_timesteps == 8


def test_steps_for_a_world_model_that_memory_cannot_hold_are_refused():
    with pytest.raises(
        ValueError, match=r"Room for \d+ steps of 2 environments takes \d+ bytes, more than the memory"
    ):
        fit_world_model(CARTPOLE, n_envs=2, n_steps=1e13)


def test_a_buffer_without_room_for_a_window_of_each_environment_is_refused():
    message = (
        "buffer_size=5 leaves 2 slots to each of 2 environments, and a window of horizon=2 takes 3: it must be at "
        "least 6"
    )
    with pytest.raises(ValueError, match=message):
        tiny_tdmpc2(buffer_size=5)


@pytest.mark.slow
def test_a_buffer_with_room_for_one_window_of_each_environment_trains():
    assert tiny_tdmpc2(buffer_size=6).learn(24)._n_updates > 0


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"lr": 1},
            r"^DeepSPI\(\) got an unexpected keyword argument 'lr'\. Did you mean 'learning_rate'\?$",
        ),
        (
            {"n_step": 8},
            r"^DeepSPI\(\) got an unexpected keyword argument 'n_step'\. Did you mean 'n_steps'\?$",
        ),
        ({"xyz": 8}, r"^DeepSPI\(\) got an unexpected keyword argument 'xyz'\.$"),
        ({}, r"^DeepSPI\(\) missing a required argument: 'policy'$"),
    ],
)
def test_arguments_that_do_not_exist_are_named_by_the_class(kwargs, message):
    with pytest.raises(TypeError, match=message):
        DeepSPI(**kwargs)


def test_a_file_is_a_path_or_an_open_file():
    with pytest.raises(TypeError, match=r"^PPO\.load\(\) takes a path or an open binary file, got None\.$"):
        PPO.load(None)
