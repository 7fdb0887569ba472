"""Every constraint method on Point Goal with a limit of 5, and PPO without: return, cost and CPU time of three seeds.

    python benchmarks/constraint_methods.py lagrangian pid --seeds 0 1 2

Evaluated on 512 new episodes with sampled actions, since the limit applies to those. The slow test runs the same.
"""

import argparse
import time
from typing import Any, NamedTuple

from stable_baselines3.common.utils import LinearSchedule

from spi_integrations.stable_baselines3 import evaluate_policy_with_cost
from spi_plugins import PPO
from spi_plugins.algorithms.vec_envs import FunctionalVecEnv
from spi_plugins.envs.point_goal import make_point_goal

LIMIT, STEPS, EPISODES = 5.0, 768_000, 512
SHARED: dict[str, Any] = {"n_envs": 64, "n_steps": 125, "batch_size": 1000, "gamma": 0.98,
                          "learning_rate": LinearSchedule(1e-3, 1e-4, 1.0)}  # fmt: skip
# Costs come in only every second rollout, when all episodes end: the multipliers follow the excess itself.
ASCENT = {"optimizer": "sgd", "init": 0.0}
# Whole episodes in each rollout, for the method that steps on the cost after any rollout whose episodes cost too much.
ROLLOUTS: dict[str, dict[str, Any]] = {"crpo": {"n_envs": 32, "n_steps": 250}}
METHODS: dict[str, dict[str, Any] | None] = {
    "none": None,
    "lagrangian": {**ASCENT, "lr": 0.05},
    "pid": {"kp": 0.1, "ki": 0.04, "kd": 0.1, "ema_p": 0.0, "ema_d": 0.0, "delay": 1, "init": 0.0},
    "augmented": {"penalty_init": 0.05},
    "p3o": {"gain": 0.1},
    "focops": {**ASCENT, "lr": 0.1, "max": None},
    "crpo": {},
    "cpo": {"gain": 0.5},
}


class Outcome(NamedTuple):
    """Means over the evaluation's episodes, and CPU minutes."""

    mean_return: float
    mean_cost: float
    minutes: float


def run(method: str, seed: int) -> Outcome:
    """Train one seed, and evaluate it on new episodes."""
    started, settings = time.process_time(), METHODS[method]
    limited = (
        {} if settings is None else {"constraint": method, "cost_limit": LIMIT, "constraint_kwargs": settings}
    )
    settings = {**SHARED, **ROLLOUTS.get(method, {}), **limited}
    model = PPO("MlpPolicy", make_point_goal(), seed=seed, **settings)
    model.learn(STEPS)
    fresh = FunctionalVecEnv(make_point_goal(), 64, seed=10_000 + seed)
    result = evaluate_policy_with_cost(model, fresh, EPISODES, deterministic=False)
    return Outcome(result.mean_return, result.mean_cost, (time.process_time() - started) / 60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=", ".join(METHODS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    print("| method | return | cost | CPU minutes |\n|---|---|---|---|")
    for method in args.methods or METHODS:
        found = [run(method, seed) for seed in args.seeds]
        returns, costs, minutes = zip(*found, strict=True)
        cells = [", ".join(f"{x:.2f}" for x in column) for column in (returns, costs)]
        print(f"| {method} | {' | '.join(cells)} | {sum(minutes) / len(minutes):.2f} |", flush=True)


if __name__ == "__main__":
    main()
