"""Trust-region steps on the return while costs are within the limit, and on the cost while they are not.

This is CRPO (Xu et al. 2021, arXiv:2011.05869) with sb3-contrib's TRPO: of CPO (Achiam et al. 2017,
arXiv:1705.10528) it has the trust region and the recovery step. It has not CPO's step that improves the return
along the border of the constraint, for which the cost would need a critic and a gradient of its own.

python examples/safe_baselines/trpo_recovery.py
"""

import argparse

import gymnasium as gym
import numpy as np
from sb3_contrib import TRPO
from stable_baselines3.common.callbacks import BaseCallback, CallbackList

import spi_wrappers  # noqa: F401  registers spi/PointGoal-v0
from spi_integrations.stable_baselines3 import CostLogCallback, as_vec_env, evaluate_policy_with_cost
from spi_wrappers.vector import LagrangianReward

# (r - λ c) / (1 + λ) is the reward for λ = 0, and the cost alone for a large λ.
RECOVERY = 1e6


class SwitchObjective(BaseCallback):
    """Chooses the next rollout's objective by what the episodes of the last one cost."""

    def __init__(self, env: LagrangianReward, limit: float) -> None:
        super().__init__()
        self.env, self.limit = env, limit
        self.costs: list[float] = []

    def _on_step(self) -> bool:
        self.costs += [info["episode"]["c"] for info in self.locals["infos"] if "episode" in info]
        return True

    def _on_rollout_end(self) -> None:
        if self.costs:
            above = float(np.mean(self.costs)) > self.limit
            self.env.set_multiplier(RECOVERY if above else 0.0, frozen=True)
            self.logger.record("train/recovery", float(above))
            self.costs = []


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--env", default="spi/PointGoal-v0")
    parser.add_argument("--cost-limit", type=float, default=5.0)
    parser.add_argument("--timesteps", type=int, default=500_000)
    parser.add_argument("--n-envs", type=int, default=16)
    parser.add_argument("--episodes", type=int, default=64)
    args = parser.parse_args()

    env = LagrangianReward(gym.make_vec(args.env, num_envs=args.n_envs), args.cost_limit, normalize=True)
    env.set_multiplier(0.0, frozen=True)
    model = TRPO(
        "MlpPolicy", as_vec_env(env), n_steps=256, batch_size=32 * args.n_envs, gamma=0.98, seed=0, verbose=1
    )
    callbacks = [SwitchObjective(env, args.cost_limit), CostLogCallback(args.cost_limit)]
    model.learn(args.timesteps, callback=CallbackList(callbacks))

    fresh = gym.make_vec(args.env, num_envs=args.n_envs)
    result = evaluate_policy_with_cost(model, fresh, args.episodes, deterministic=False)
    print(f"return {result.mean_return:.2f}, cost {result.mean_cost:.2f}")


if __name__ == "__main__":
    main()
