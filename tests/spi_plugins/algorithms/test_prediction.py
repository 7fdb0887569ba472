"""predict: single observations and batches of every space, actions inside the action space."""

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv
from tiny_models import CARTPOLE, SMALL, tiny_ppo
from toy_envs import CHANNELS_FIRST, CHANNELS_LAST, MIXED, VECTOR, ToyEnv

from spi_plugins import PPO
from spi_plugins.algorithms.policies import MlpPolicy

CONV = {"conv_layers": ((4, 4, 2),), "net_arch": [8]}
ACTIONS = {
    "discrete from 3": spaces.Discrete(4, start=3),
    "multi-discrete": spaces.MultiDiscrete([2, 5], start=[1, -2]),
    "multi-discrete of two axes": spaces.MultiDiscrete([[2, 3], [4, 5]]),
    "multi-binary": spaces.MultiBinary(3),
    "float64 box": spaces.Box(-0.1, 0.3, (2,), np.float64),
    "box of integers": spaces.Box(-2, 5, (2,), np.int64),
    "box with a fixed number": spaces.Box(np.array([1, -1], np.float32), np.array([1, 1], np.float32)),
    "box": spaces.Box(np.array([-1.0, 0.0], np.float32), np.array([1.0, 30.0], np.float32)),
    "box of one number": spaces.Box(-2.0, 2.0, (), np.float32),
}
TRAINED = ("discrete from 3", "multi-discrete of two axes", "float64 box", "box of integers")


def make(observations, actions=None, policy="MlpPolicy", **kwargs):
    env = DummyVecEnv([lambda: ToyEnv(observations, actions)] * 2)
    return PPO(policy, env, **{**SMALL, **kwargs})


@pytest.mark.parametrize("kind", ACTIONS)
def test_actions_are_of_the_action_space_in_prediction_and_in_training(kind):
    space = ACTIONS[kind]
    # A wide Gaussian leaves the box, which the clipping has to mend.
    model = make(VECTOR, space, policy_kwargs={"net_arch": [8], "log_std_init": 2.0})
    batch = np.stack([VECTOR.sample() for _ in range(50)])
    sampled, _ = model.predict(batch)
    assert sampled.dtype == space.dtype
    assert all(space.contains(sampled[i, ...]) for i in range(50))
    assert len(np.unique(sampled, axis=0)) > 1
    action, _ = model.predict(batch[0], deterministic=True)
    assert space.contains(action)
    if kind in TRAINED:
        model.learn(8)  # ToyEnv insists on actions of the space


def test_deterministic_prediction_repeats_and_sampling_does_not():
    model = tiny_ppo()
    batch = np.linspace(-1, 1, 80, dtype=np.float32).reshape(20, 4)
    state = ("kept", np.ones(2))
    first, out = model.predict(batch, state=state, episode_start=np.ones(20, bool), deterministic=True)
    assert out is state
    np.testing.assert_array_equal(first, model.predict(batch, deterministic=True)[0])
    samples = [model.predict(batch)[0] for _ in range(3)]
    assert not np.array_equal(samples[0], samples[1])
    again = tiny_ppo()
    np.testing.assert_array_equal(samples, [again.predict(batch)[0] for _ in range(3)])


def test_one_observation_gives_one_action_and_equals_its_row():
    model = tiny_ppo()
    batch = np.linspace(-1, 1, 12, dtype=np.float64).reshape(3, 4)  # float64 is narrowed
    actions, _ = model.predict(batch, deterministic=True)
    assert actions.shape == (3,)
    for observation, action in zip(batch, actions, strict=True):
        single, _ = model.predict(observation, deterministic=True)
        assert (single, single.shape) == (action, ())
        assert model.predict(observation.tolist(), deterministic=True)[0] == action


@pytest.mark.parametrize(("space", "kind"), [(CHANNELS_FIRST, "first"), (CHANNELS_LAST, "last")])
def test_images_are_read_with_their_channels_first_or_last(space, kind):
    model = make(space, policy="CnnPolicy", policy_kwargs=CONV)
    if kind == "last":
        model.learn(8)
    image = space.sample()
    turned = np.moveaxis(image, 0, -1) if kind == "first" else np.moveaxis(image, -1, 0)
    parameters = []
    for observation in (image, turned, image[None], turned[None]):
        action, _ = model.predict(observation, deterministic=True)
        assert action.shape == (() if observation.ndim == 3 else (1,))
        parameters.append(int(action.ravel()[0]))
    assert len(set(parameters)) == 1


def test_both_orders_of_axes_build_the_same_network():
    first = make(CHANNELS_FIRST, policy="CnnPolicy", policy_kwargs=CONV)
    last = make(CHANNELS_LAST, policy="CnnPolicy", policy_kwargs=CONV)
    images = jnp.stack([CHANNELS_FIRST.sample() for _ in range(4)])
    params = first._agent_state.params
    one = jax.jit(first.agent.act)(params, images, first._agent_state.key)
    two = jax.jit(last.agent.act)(params, jnp.moveaxis(images, 1, -1), first._agent_state.key)
    np.testing.assert_allclose(one.value, two.value, rtol=1e-5)
    np.testing.assert_allclose(one.log_prob, two.log_prob, rtol=1e-5)


def test_dict_observations_train_and_predict_alone_and_in_batches():
    model = make(MIXED, policy="MultiInputPolicy", policy_kwargs={**CONV, "image_features": 4}).learn(8)
    rows = [MIXED.sample() for _ in range(3)]
    batch = {key: np.stack([row[key] for row in rows]) for key in MIXED.spaces}
    actions, _ = model.predict(batch, deterministic=True)
    assert actions.shape == (3,)
    for row, action in zip(rows, actions, strict=True):
        assert model.predict(row, deterministic=True)[0] == action
    mean, _ = evaluate_policy(model, ToyEnv(MIXED), n_eval_episodes=2, warn=False)
    assert mean == 5


@pytest.mark.parametrize("activation", ["relu", "ReLU", torch.nn.ReLU, torch.nn.functional.relu])
def test_torchs_activations_are_accepted_by_name_class_and_function(activation):
    observations = jnp.ones((2, 4))
    models = [
        PPO("MlpPolicy", CARTPOLE, n_envs=2, **{**SMALL, "policy_kwargs": {"net_arch": [8], **kwargs}})
        for kwargs in ({"activation_fn": activation}, {"activation_fn": "relu"}, {})
    ]
    values = [jax.jit(model.agent.value)(model._agent_state.params, observations) for model in models]
    np.testing.assert_array_equal(values[0], values[1])
    assert not np.array_equal(values[0], values[2])


def test_separate_widths_and_a_policy_class_build_what_they_say():
    arch = {"pi": [8, 4], "vf": [16]}
    for policy in ("MlpPolicy", MlpPolicy):
        model = PPO(policy, CARTPOLE, n_envs=2, **{**SMALL, "policy_kwargs": {"net_arch": arch}})
        shapes = {name: value.shape for name, value in model.get_parameters()["policy"].items()}
        assert shapes["actor/dense/kernel"] == (4, 2)
        assert shapes["critic/kernel"] == (16, 1)


def test_a_gymnasium_environment_can_be_played_as_sb3s_readme_does():
    model = tiny_ppo("gymnasium")
    env = gym.make("CartPole-v1")
    observation, _ = env.reset(seed=0)
    for _ in range(5):
        action, _ = model.predict(observation)
        observation, *_ = env.step(action)
    vec_env = model.get_env()
    observations = vec_env.reset()
    action, _ = model.predict(observations, deterministic=True)
    vec_env.step(action)
