"""All ways to keep a limit of costs, and PPO without: return, cost, and costs over training.

python benchmarks/comparison.py point_goal swimmer --out docs/results

Each run is evaluated on new episodes with sampled actions, since the limit applies to those. Runs are added to
comparison_NAME.json one by one, and those in it are not made again. The slow test makes the runs of Point Goal.
"""

import functools
import math
import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from cost_learning import TASKS as COST_TASKS
from cost_learning import swimmer
from learning import Stored, command_line, interval, subplots, write
from planning import TASKS as PLANNING_TASKS
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.utils import LinearSchedule

import spi_plugins
from spi_integrations.stable_baselines3 import CostEvaluation, as_vec_env, evaluate_policy_with_cost
from spi_plugins.algorithms.vec_envs import FunctionalVecEnv
from spi_plugins.envs.point_goal import make_point_goal

# "deep_spi" is with "lagrangian", "saute" is PPO on the wrapper, the others are constraints of PPO.
METHODS = ("ppo", "lagrangian", "pid", "augmented", "p3o", "focops", "crpo", "cpo", "saute", "deep_spi")


class Task(NamedTuple):
    """A run."""

    make_env: Callable[[int], Any]
    fresh: Callable[[int], Any]  # the environment of the evaluation
    limit: float
    steps: int
    n_envs: int
    arguments: dict[str, Any]  # of all methods
    constraint_kwargs: dict[str, dict[str, Any]]
    own: dict[str, dict[str, Any]]  # further arguments of a method
    n_eval_episodes: int


# Where all episodes end together, costs come in only every second rollout: multipliers follow the excess itself.
ASCENT = {"optimizer": "sgd", "init": 0.0}
# Costs of Swimmer are larger, and a high price in the beginning leads to a slow stroke, see cost_learning.py.
SLOW = {**ASCENT, "lr": 0.0008, "max": 0.25}

TASKS = {
    "point_goal": Task(
        lambda seed: make_point_goal(),
        lambda seed: FunctionalVecEnv(make_point_goal(), 64, seed=seed),
        limit=5.0, steps=768_000, n_envs=64,
        arguments={"n_envs": 64, "n_steps": 125, "batch_size": 1000, "gamma": 0.98,
                   "learning_rate": LinearSchedule(1e-3, 1e-4, 1.0)},
        constraint_kwargs={
            "lagrangian": {**ASCENT, "lr": 0.05},
            "pid": {"kp": 0.1, "ki": 0.04, "kd": 0.1, "ema_p": 0.0, "ema_d": 0.0, "delay": 1, "init": 0.0},
            "augmented": {"penalty_init": 0.05},
            "p3o": {"gain": 0.1},
            "focops": {**ASCENT, "lr": 0.1, "max": None},
            "crpo": {},
            "cpo": {"gain": 0.5},
        },
        # Whole episodes in each rollout, for the method that steps on the cost after one whose episodes cost too much.
        own={"crpo": {"n_envs": 32, "n_steps": 250}, "saute": {"unsafe_reward": -0.1}},
        n_eval_episodes=512,
    ),
    # With rates and a maximum 2.5 times as large, "lagrangian" ended in a slow stroke (seed 0).
    "swimmer": Task(
        swimmer, lambda seed: as_vec_env(swimmer(seed)),
        limit=18.0, steps=600_000, n_envs=16, arguments=COST_TASKS["swimmer"].arguments,
        constraint_kwargs={
            "lagrangian": SLOW,
            "pid": {"kp": 0.0012, "ki": 0.0008, "kd": 0.0, "ema_p": 0.5, "init": 0.0, "max": 0.25},
            "augmented": {"penalty_init": 0.0008, "multiplier_max": 0.25},
            "p3o": {"gain": 0.1},
            "focops": SLOW,
            "crpo": {},
            "cpo": {"gain": 0.5},
        },
        own={}, n_eval_episodes=256,
    ),
}  # fmt: skip


class Curve(KVWriter):
    """Steps, return and cost of the episodes that ended last, and the mean cost of a step over all steps so far."""

    def __init__(self) -> None:
        self.points: list[tuple[int, float, float, float]] = []
        self._rates: list[float] = []

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0
    ) -> None:
        if "rollout/cost_rate" in key_values:
            self._rates.append(key_values["rollout/cost_rate"])  # of rollouts of one size
            means = (key_values[f"rollout/ep_{name}_mean"] for name in ("rew", "cost"))
            self.points.append((step, *(round(float(x), 3) for x in means), round(np.mean(self._rates), 5)))

    def close(self) -> None:
        pass


class Outcome(NamedTuple):
    """The evaluation's episodes, the course of training, and CPU seconds."""

    played: CostEvaluation
    curve: list[tuple[int, float, float, float]]
    cpu_seconds: float


def build(task: Task, method: str, seed: int) -> Any:
    """The model before training."""
    algorithm, limited = "ppo", dict[str, Any]()
    if method == "saute":
        algorithm, limited = "ppo_saute", {"cost_limit": task.limit}
    elif method != "ppo":
        algorithm = "deep_spi" if method == "deep_spi" else "ppo"
        constraint = "lagrangian" if method == "deep_spi" else method
        limited = {"constraint": constraint, "cost_limit": task.limit}
        limited["constraint_kwargs"] = task.constraint_kwargs[constraint]
    arguments = {**task.arguments, **task.own.get(method, {}), **limited}
    window = arguments.get("n_envs", task.n_envs)
    return spi_plugins.make(
        algorithm, "MlpPolicy", task.make_env(seed), seed=seed, stats_window_size=window, **arguments
    )


def run(task: Task, method: str, seed: int) -> Outcome:
    """Train one seed, and evaluate it on new episodes."""
    started, curve = time.process_time(), Curve()
    model = build(task, method, seed)
    model.set_logger(Logger(None, [curve]))
    model.learn(task.steps)
    fresh = task.fresh(10_000 + seed)
    fresh = model.wrap_env(fresh) if method == "saute" else fresh
    played = evaluate_policy_with_cost(model, fresh, task.n_eval_episodes, deterministic=False)
    return Outcome(played, curve.points, time.process_time() - started)


def row_of(method: str, seed: int, outcome: Outcome) -> dict[str, Any]:
    """What is stored of a run: every episode, and at most 60 points of the curve, with the last one."""
    every = math.ceil(len(outcome.curve) / 60)
    return {
        "method": method,
        "seed": seed,
        "returns": [round(x, 2) for x in outcome.played.returns.tolist()],
        "costs": outcome.played.costs.tolist(),
        "cpu_seconds": round(outcome.cpu_seconds),
        "curve": outcome.curve[::-every][::-1],
    }


def planned(name: str, out: pathlib.Path) -> list[dict[str, Any]]:
    """Runs of the planning agents on the task by planning.py, of which only means are stored."""
    if name not in PLANNING_TASKS:
        return []
    return [row for row in Stored(out / f"planning_{name}.json").rows if row["method"] in ("spowl", "tdmpc2")]


def table(name: str, rows: list[dict[str, Any]]) -> str:
    """By method: all seeds' means with 95 % intervals that resample episodes within each seed, and each seed's cost."""
    limit = TASKS[name].limit
    columns = "seeds | return | cost | cost, by seed | above the limit | costs in training | CPU minutes"
    lines = [f"| {name}, limit {limit:g} | {columns} |", "|---|---|---|---|---|---|---|---|"]
    for method, runs in by_method(rows).items():
        costs = [np.mean(row["costs"]) for row in runs]
        above = np.mean([np.mean(np.asarray(row["costs"]) > limit) for row in runs])
        cells = [
            str(len(runs)),
            interval(runs, "returns"),
            interval(runs, "costs"),
            ", ".join(f"{cost:.2f}" for cost in costs),
            f"{100 * above:.0f} %",
            f"{np.mean([row['curve'][-1][3] for row in runs]):.3f}",
            f"{np.mean([row['cpu_seconds'] for row in runs]) / 60:.1f}",
        ]
        lines.append(f"| `{method}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def by_method(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The runs of each method that has any, in the order of the seeds."""
    found = {method: [row for row in rows if row["method"] == method] for method in METHODS}
    return {method: sorted(runs, key=lambda row: row["seed"]) for method, runs in found.items() if runs}


def draw(name: str, rows: list[dict[str, Any]], planned: list[dict[str, Any]], path: pathlib.Path) -> None:
    """The plane of cost and return, a point for each seed, also near the limit alone, and the costs over training."""
    figure, (plane, close, course) = subplots(1, 3, figsize=(17, 5))
    limit = TASKS[name].limit
    for method, runs in by_method(rows).items():
        i = METHODS.index(method)
        points = [(np.mean(row["costs"]), np.mean(row["returns"])) for row in runs]
        style = {"color": f"C{i % 10}", "label": method}
        for axes, shown in ((plane, points), (close, [x for x in points if 0.7 < x[0] / limit < 1.4])):
            axes.scatter(*np.reshape(shown, (-1, 2)).T, marker="os^Dv"[i % 5], s=36, **style)
        for j, row in enumerate(runs):
            steps, _, _, rate = np.asarray(row["curve"]).T
            course.plot(steps / 1000, rate, color=style["color"], alpha=0.8, label=method if j == 0 else None)
    for marker, method in zip("+x", ("spowl", "tdmpc2"), strict=True):
        means = [(row["mean_cost"], row["mean_return"]) for row in planned if row["method"] == method]
        if means:
            plane.scatter(*zip(*means, strict=True), marker=marker, color="black", label=method)
    for axes, where in ((plane, "final policies"), (close, "near the limit")):
        axes.axvline(limit, color="grey", linestyle="--", label="limit")
        axes.set(title=f"{name}: {where}", xlabel="cost of an episode", ylabel="return")
    course.set(title=f"{name}: cost of a step, mean over all steps so far", xlabel="steps, thousands")
    course.set_yscale("log")
    plane.legend(fontsize=8)
    write(figure, path)


def main() -> None:
    parser = command_line(__doc__, TASKS, "comparison_NAME.json and comparison_NAME.png")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.set_defaults(out=pathlib.Path("."))
    args = parser.parse_args()
    for name in args.tasks:
        stored, once = Stored(args.out / f"comparison_{name}.json"), functools.partial(run, TASKS[name])
        for method in args.methods:
            for seed in args.seeds:
                if stored.has(method=method, seed=seed):
                    continue
                stored.add(row_of(method, seed, once(method, seed)))
                last = stored.rows[-1]
                print(name, method, seed, np.mean(last["returns"]), np.mean(last["costs"]), flush=True)
        draw(name, stored.rows, planned(name, args.out), args.out / f"comparison_{name}.png")
        print("\n" + table(name, stored.rows))


if __name__ == "__main__":
    main()
