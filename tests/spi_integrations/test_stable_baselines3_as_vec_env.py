import gymnasium as gym
import numpy as np

import spi_integrations.stable_baselines3 as integration
from spi_plugins.algorithms import vec_envs


def test_the_public_names_are_the_adapters():
    for name in set(integration.__all__) & set(vec_envs.__all__):
        assert getattr(integration, name) is getattr(vec_envs, name)


def test_the_documented_snippet_works():
    env = integration.as_vec_env(gym.make_vec("CartPole-v1", num_envs=4, vectorization_mode="sync"))
    assert env.reset().shape == (4, 4)
    assert env.step(np.zeros(4, int))[1].tolist() == [1.0] * 4
