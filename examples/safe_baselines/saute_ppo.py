"""Sauté PPO: the budget that is left is part of the observation, so each episode keeps the limit by itself.

python examples/safe_baselines/saute_ppo.py
"""

import argparse

import gymnasium as gym
from stable_baselines3 import PPO

import spi_wrappers  # noqa: F401  registers spi/PointGoal-v0
from spi_integrations.stable_baselines3 import CostLogCallback, as_vec_env, evaluate_policy_with_cost
from spi_wrappers.vector import SauteBudget


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default="spi/PointGoal-v0")
    parser.add_argument("--cost-limit", type=float, default=5.0)
    parser.add_argument("--timesteps", type=int, default=500_000)
    parser.add_argument("--n-envs", type=int, default=16)
    parser.add_argument("--episodes", type=int, default=64)
    args = parser.parse_args()

    def make() -> SauteBudget:
        env = gym.make_vec(args.env, num_envs=args.n_envs)
        return SauteBudget(env, budget=args.cost_limit, unsafe_reward=-0.2)

    model = PPO(
        "MlpPolicy",
        as_vec_env(make()),
        n_steps=128,
        batch_size=32 * args.n_envs,
        gamma=0.98,
        seed=0,
        verbose=1,
    )
    model.learn(args.timesteps, callback=CostLogCallback(args.cost_limit))
    # The policy needs the budget in its observations; returns are the environment's own all the same.
    result = evaluate_policy_with_cost(model, make(), args.episodes, deterministic=False)
    print(
        f"return {result.mean_return:.2f}, cost {result.mean_cost:.2f}, "
        f"episodes above the limit {result.violation_rate(args.cost_limit):.0%}"
    )


if __name__ == "__main__":
    main()
