"""PPO-Lagrangian, with gradient ascent or a PID controller for the multiplier, on three libraries' PPO.

python examples/safe_baselines/ppo_lagrangian.py --library sb3 --pid
"""

import argparse
import importlib

import gymnasium as gym

import spi_wrappers  # noqa: F401  registers spi/PointGoal-v0
from spi_integrations.stable_baselines3 import CostLogCallback, as_vec_env, evaluate_policy_with_cost
from spi_wrappers.vector import LagrangianReward

# All three have the same constructor; SBX is apart: pip install sbx-rl
LIBRARIES = {"sb3": "stable_baselines3", "sbx": "sbx", "spi": "spi_plugins"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", choices=LIBRARIES, default="sb3")
    parser.add_argument("--env", default="spi/PointGoal-v0")
    parser.add_argument("--cost-limit", type=float, default=5.0)
    parser.add_argument("--pid", action="store_true", help="a PID controller instead of gradient ascent")
    parser.add_argument("--timesteps", type=int, default=500_000)
    parser.add_argument("--n-envs", type=int, default=16)
    parser.add_argument("--episodes", type=int, default=64)
    args = parser.parse_args()

    how = {"pid": {"kp": 0.03, "ki": 0.004, "kd": 0.0, "ema_p": 0.5}} if args.pid else {"lr": 0.005}
    env = LagrangianReward(gym.make_vec(args.env, num_envs=args.n_envs), args.cost_limit, **how)
    PPO = importlib.import_module(LIBRARIES[args.library]).PPO
    model = PPO(
        "MlpPolicy", as_vec_env(env), n_steps=128, batch_size=32 * args.n_envs, gamma=0.98, seed=0, verbose=1
    )
    model.learn(args.timesteps, callback=CostLogCallback(args.cost_limit))

    fresh = gym.make_vec(args.env, num_envs=args.n_envs)
    result = evaluate_policy_with_cost(model, fresh, args.episodes, deterministic=False)
    print(
        f"return {result.mean_return:.2f}, cost {result.mean_cost:.2f}, multiplier {env.multiplier.value:.3f}"
    )


if __name__ == "__main__":
    main()
