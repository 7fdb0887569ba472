"""Costs early in training: SPOWL on Point Goal, plain and with what is to make its start safe.

python benchmarks/safe_start.py --out docs/results --models runs/safe

The figure of each run is the sum of all costs in training, next to the return and cost of its final policy over 200
fresh episodes. "data" begins with 64 thousand steps of uniform actions, which cost, too, but not in this training. Runs
are added to safe_start.json one by one, and those in it are not made again.
"""

import argparse
import pathlib
import tempfile
from typing import Any

import numpy as np
from learning import Stored, interval
from planning import TASKS, Task, build, fresh_episodes, trained
from stable_baselines3.common.callbacks import BaseCallback

from spi_integrations.stable_baselines3 import evaluate_policy_with_cost

TASK = TASKS["short_point_goal"]
DATA_STEPS = 64_000
PRETRAINED = {"pretrain_steps": 4000, "learning_starts": 0}
# As many updates before the first step as after it: the multiplier takes its course in twice as many.
STRETCHED = {"loss_kwargs": {"penalty_init": 2e-4, "penalty_rate": 2e-5}}
# Options, and the size of the data's random actions, if any come first.
METHODS: dict[str, tuple[dict[str, Any], float | None]] = {
    "plain": ({}, None),
    "data": (PRETRAINED, 1.0),
    "data, slower multiplier": (PRETRAINED | STRETCHED, 1.0),
    "shield": ({"shield": 0.5}, None),
}


class CostSum(BaseCallback):
    """Steps, and the sum of all costs so far."""

    def __init__(self) -> None:
        super().__init__()
        self.points: list[tuple[int, float]] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        model: Any = self.model
        if model.num_timesteps % 800 == 0:
            self.points.append((model.num_timesteps, model._standing.total_cost))


def with_options(options: dict[str, Any]) -> Task:
    return TASK._replace(costs={**TASK.costs, **options})


def data_of(scale: float, folder: pathlib.Path) -> tuple[pathlib.Path, float]:
    """The file of a replay buffer of random actions, and what they cost."""
    path = folder / f"random_{scale}.npz"
    options = {"learning_starts": DATA_STEPS + 1, "random_scale": scale}
    model = build(with_options(options), "spowl", 777)
    if not path.is_file():
        model.learn(DATA_STEPS)
        model.save_replay_buffer(path)
    model.load_replay_buffer(path)
    return path, float(np.sum(model.replay_buffer.slots.cost))


def run(method: str, seed: int, folder: pathlib.Path) -> dict[str, Any]:
    """Train one seed and play 200 episodes with its policy."""
    options, scale = METHODS[method]
    model, before = build(with_options(options), "spowl", seed), 0.0
    if scale is not None:
        data, before = data_of(scale, folder)
        model.load_replay_buffer(data)
    curve, path = CostSum(), folder / f"{method.replace(', ', '_').replace(' ', '_')}_{seed}.zip"
    model = trained(with_options(options), model, path, curve)
    alone = type(model).load(path, planner="policy", planner_kwargs=None, decision=None, shield=None)
    n_episodes = TASK.n_eval_episodes
    played = evaluate_policy_with_cost(
        alone, fresh_episodes("point_goal", 10_000 + seed, n_episodes), n_episodes
    )
    return {
        "method": method,
        "seed": seed,
        "cost_sum": model._standing.total_cost,
        "cost_of_data": before,
        "returns": [round(x, 3) for x in played.returns.tolist()],
        "costs": played.costs.tolist(),
        "curve": curve.points,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Sums by seed, and final returns and costs with 95 % intervals that resample episodes within each seed."""
    lines = ["| | sum of costs, by seed | of plain | final return | final cost |", "|---|---|---|---|---|"]
    plain = {row["seed"]: row["cost_sum"] for row in rows if row["method"] == "plain"}
    for method in METHODS:
        runs = sorted((row for row in rows if row["method"] == method), key=lambda row: row["seed"])
        if not runs:
            continue
        sums = ", ".join(f"{row['cost_sum']:.0f}" for row in runs)
        both = [row for row in runs if row["seed"] in plain]
        share = (
            sum(row["cost_sum"] for row in both) / sum(plain[row["seed"]] for row in both) if both else 1.0
        )
        cells = [interval(runs, name) for name in ("returns", "costs")]
        lines.append(f"| {method} | {sums} | {100 * share:.0f} % | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--models", type=pathlib.Path, help="folder that keeps the trained models")
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("."), help="folder for safe_start.json"
    )
    args = parser.parse_args()
    stored = Stored(args.out / "safe_start.json")
    folder = args.models or pathlib.Path(tempfile.mkdtemp())
    for method in args.methods:
        for seed in args.seeds:
            if stored.has(method=method, seed=seed):
                continue
            row = run(method, seed, folder)
            stored.add(row)
            print(method, seed, row["cost_sum"], np.mean(row["returns"]), np.mean(row["costs"]), flush=True)
    print("\n" + table(stored.rows))


if __name__ == "__main__":
    main()
