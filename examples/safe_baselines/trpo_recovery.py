"""Trust-region steps on the return while costs are within the limit, and on the cost while they are above it.

This is CRPO (Xu et al. 2021, arXiv:2011.05869) with sb3-contrib's TRPO. It shares the trust region and the recovery
step with CPO (Achiam et al. 2017, arXiv:1705.10528), but lacks CPO's step along the boundary of the constraint, which
needs a critic and a gradient of the cost.

python examples/safe_baselines/trpo_recovery.py
"""

import numpy as np
from recipe import evaluate, make_env, parser
from sb3_contrib import TRPO
from stable_baselines3.common.callbacks import BaseCallback

from spi_integrations.stable_baselines3 import CostLogCallback, as_vec_env
from spi_wrappers.vector import LagrangianReward

# (r - λ c) / (1 + λ) is the reward if λ = 0, and the negative cost alone if λ is large.
RECOVERY = 1e6


class SwitchObjective(BaseCallback):
    """Picks the objective of the next rollout from the costs of the last one's episodes."""

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
    args = parser(__doc__).parse_args()
    env = LagrangianReward(make_env(args), args.cost_limit, normalize=True)
    env.set_multiplier(0.0, frozen=True)
    model = TRPO(
        "MlpPolicy", as_vec_env(env), n_steps=256, batch_size=32 * args.n_envs, gamma=0.98, seed=0, verbose=1
    )
    callbacks = [SwitchObjective(env, args.cost_limit), CostLogCallback(args.cost_limit)]
    model.learn(args.timesteps, callback=callbacks)
    evaluate(model, args)


if __name__ == "__main__":
    main()
