"""Train inside a dream in one compiled program: the dream is a functional environment for our own algorithms.

python examples/dreams/compiled.py
"""

import argparse

import gymnasium as gym
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

import spi_plugins
from spi_wrappers import LatentObservation


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("--real-steps", type=int, default=20_000)
    parser.add_argument("--updates", type=int, default=3_000)
    parser.add_argument("--dream-steps", type=int, default=300_000)
    parser.add_argument("--n-envs", type=int, default=64)
    args = parser.parse_args()

    world = spi_plugins.fit_world_model(args.env, n_steps=args.real_steps, n_updates=args.updates, n_envs=4)
    dream = spi_plugins.open_dream(world, horizon=50)
    agent = spi_plugins.PPO(
        "MlpPolicy", dream, n_envs=args.n_envs, n_steps=32, batch_size=512, learning_rate=1e-3, clip_range=0.2, seed=0
    )  # fmt: skip
    agent.learn(args.dream_steps)

    real = Monitor(LatentObservation(gym.make(args.env), world))
    mean, deviation = evaluate_policy(agent, real, n_eval_episodes=20)
    print(f"return of the data {world.report['mean_return']:.1f}, of the agent {mean:.1f} +- {deviation:.1f}")


if __name__ == "__main__":
    main()
