"""Uses the installed wheel as a stranger would. Called by ``.ci/wheel-test`` in an empty folder."""

import pathlib
import sys

import gymnasium
from stable_baselines3.common.evaluation import evaluate_policy

import spi_integrations
import spi_integrations.stable_baselines3
import spi_plugins
import spi_wrappers
from spi_plugins import PPO

for package in (spi_plugins, spi_wrappers, spi_integrations):
    location = pathlib.Path(package.__file__)
    assert location.is_relative_to(sys.prefix), f"{package.__name__} comes from {location}"

env = gymnasium.make("spi/CartPole-v0")
env.reset(seed=0)
_, reward, *_ = env.step(env.action_space.sample())
assert reward == 1.0

model = PPO("MlpPolicy", "CartPole-v1", n_envs=8, learning_rate=1e-3, seed=0)
model.learn(20_480)
model.save("cartpole")
loaded = PPO.load("cartpole")
mean, _ = evaluate_policy(loaded, PPO("MlpPolicy", "CartPole-v1", seed=1).env, n_eval_episodes=10)
sys.stdout.write(f"PPO on CartPole-v1: {mean:.0f} after {loaded.num_timesteps} steps.\n")
assert mean > 60.0, "a random policy has about 22"
