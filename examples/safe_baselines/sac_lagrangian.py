"""SAC-Lagrangian: SB3's SAC on ``r - λ c``.

The replay buffer keeps each reward with the λ of the time at which it was collected, so λ should move slowly, and
the buffer should not be longer than λ's memory.

python examples/safe_baselines/sac_lagrangian.py
"""

import argparse

import gymnasium as gym
from stable_baselines3 import SAC

import spi_wrappers  # noqa: F401  registers spi/PointGoal-v0
from spi_integrations.stable_baselines3 import CostLogCallback, as_vec_env, evaluate_policy_with_cost
from spi_wrappers.vector import LagrangianReward


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--env", default="spi/PointGoal-v0")
    parser.add_argument("--cost-limit", type=float, default=5.0)
    parser.add_argument("--timesteps", type=int, default=200_000)
    parser.add_argument("--n-envs", type=int, default=8)
    parser.add_argument("--episodes", type=int, default=64)
    args = parser.parse_args()

    env = LagrangianReward(gym.make_vec(args.env, num_envs=args.n_envs), args.cost_limit, lr=0.005)
    model = SAC(
        "MlpPolicy", as_vec_env(env), buffer_size=50_000, batch_size=256, gamma=0.98, seed=0, verbose=1
    )
    model.learn(args.timesteps, callback=CostLogCallback(args.cost_limit))

    fresh = gym.make_vec(args.env, num_envs=args.n_envs)
    result = evaluate_policy_with_cost(model, fresh, args.episodes, deterministic=False)
    print(
        f"return {result.mean_return:.2f}, cost {result.mean_cost:.2f}, multiplier {env.multiplier.value:.3f}"
    )


if __name__ == "__main__":
    main()
