"""A constrained Deep SPI: the price of the cost is in the reward, hence in the utility that Deep SPI clips.

With λ for the price, the utility is the advantage of ``r - λ c`` less the losses of the world model, whose reward
head learns ``r - λ c`` as well. So an update stays where the model predicts reward and cost together.

python examples/safe_baselines/deep_spi_lagrangian.py
"""

import argparse

import gymnasium as gym

import spi_plugins
from spi_integrations.stable_baselines3 import evaluate_policy_with_cost
from spi_wrappers.vector import LagrangianReward


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--algorithm", choices=["deep_spi", "deep_mdp", "ppo"], default="deep_spi")
    parser.add_argument("--env", default="spi/PointGoal-v0")
    parser.add_argument("--cost-limit", type=float, default=5.0)
    parser.add_argument("--timesteps", type=int, default=500_000)
    parser.add_argument("--n-envs", type=int, default=16)
    parser.add_argument("--episodes", type=int, default=64)
    args = parser.parse_args()

    pid = {"kp": 0.03, "ki": 0.004, "kd": 0.0, "ema_p": 0.5}
    env = LagrangianReward(gym.make_vec(args.env, num_envs=args.n_envs), args.cost_limit, pid=pid)
    model = spi_plugins.make(
        args.algorithm, "MlpPolicy", env, n_steps=128, batch_size=32 * args.n_envs, n_epochs=10, gamma=0.98,
        learning_rate=1e-3, ent_coef=0.0, clip_range=0.2, seed=0, verbose=1,
    )  # fmt: skip
    model.learn(args.timesteps)  # logs rollout/ep_cost_mean by itself

    fresh = gym.make_vec(args.env, num_envs=args.n_envs)
    result = evaluate_policy_with_cost(model, fresh, args.episodes, deterministic=False)
    print(
        f"return {result.mean_return:.2f}, cost {result.mean_cost:.2f}, multiplier {env.multiplier.value:.3f}"
    )


if __name__ == "__main__":
    main()
