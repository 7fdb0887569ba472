"""Fit a world model to random play, train an agent of Stable-Baselines3 or sb3-contrib in its dream, and come back.

python examples/dreams/train_in_a_dream.py --agent PPO
python examples/dreams/train_in_a_dream.py --agent SAC --env Pendulum-v1
"""

import argparse

import gymnasium as gym
import sb3_contrib
import stable_baselines3
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

import spi_plugins
from spi_integrations.stable_baselines3 import as_vec_env
from spi_wrappers import DreamVectorEnv, LatentObservation

AGENTS = {
    **{name: getattr(stable_baselines3, name) for name in ("PPO", "A2C", "DQN", "SAC", "TD3")},
    **{name: getattr(sb3_contrib, name) for name in ("TRPO", "QRDQN", "RecurrentPPO", "TQC")},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--agent", choices=AGENTS, default="PPO")
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("--real-steps", type=int, default=20_000)
    parser.add_argument("--updates", type=int, default=3_000)
    parser.add_argument("--dream-steps", type=int, default=200_000)
    parser.add_argument("--horizon", type=int, default=50)
    parser.add_argument("--n-envs", type=int, default=16)
    parser.add_argument("--episodes", type=int, default=20)
    args = parser.parse_args()

    world = spi_plugins.fit_world_model(args.env, n_steps=args.real_steps, n_updates=args.updates, n_envs=4)
    dream = as_vec_env(DreamVectorEnv.from_model(args.n_envs, world, horizon=args.horizon))
    policy = "MlpLstmPolicy" if args.agent == "RecurrentPPO" else "MlpPolicy"
    agent = AGENTS[args.agent](policy, dream, seed=0, device="cpu").learn(args.dream_steps)

    real = Monitor(LatentObservation(gym.make(args.env), world))
    mean, deviation = evaluate_policy(agent, real, n_eval_episodes=args.episodes)
    print(f"return of the data {world.report['mean_return']:.1f}, of the agent {mean:.1f} +- {deviation:.1f}")


if __name__ == "__main__":
    main()
