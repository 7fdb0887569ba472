"""TRPO-Lagrangian: sb3-contrib's TRPO on ``r - λ c``, λ moved once in a rollout.

python examples/safe_baselines/trpo_lagrangian.py
"""

import argparse

import gymnasium as gym
from sb3_contrib import TRPO
from stable_baselines3.common.callbacks import CallbackList

import spi_wrappers  # noqa: F401  registers spi/PointGoal-v0
from spi_integrations.stable_baselines3 import (
    CostLogCallback,
    LagrangianCallback,
    as_vec_env,
    evaluate_policy_with_cost,
)
from spi_wrappers.vector import LagrangianReward


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default="spi/PointGoal-v0")
    parser.add_argument("--cost-limit", type=float, default=5.0)
    parser.add_argument("--timesteps", type=int, default=500_000)
    parser.add_argument("--n-envs", type=int, default=16)
    parser.add_argument("--episodes", type=int, default=64)
    args = parser.parse_args()

    env = LagrangianReward(gym.make_vec(args.env, num_envs=args.n_envs), args.cost_limit, lr=0.01)
    model = TRPO(
        "MlpPolicy", as_vec_env(env), n_steps=256, batch_size=32 * args.n_envs, gamma=0.98, seed=0, verbose=1
    )
    multiplier = LagrangianCallback()
    model.learn(args.timesteps, callback=CallbackList([multiplier, CostLogCallback(args.cost_limit)]))

    fresh = gym.make_vec(args.env, num_envs=args.n_envs)
    result = evaluate_policy_with_cost(model, fresh, args.episodes, deterministic=False)
    print(
        f"return {result.mean_return:.2f}, cost {result.mean_cost:.2f}, "
        f"multiplier {multiplier.multiplier.value:.3f}"
    )


if __name__ == "__main__":
    main()
