"""Plans at the latency of a policy: a search, shorter ones, the policy alone, and a policy that imitates the search.

python benchmarks/plan_latency.py short_point_goal pendulum --out docs/results --models runs/plans

Each seed is trained once, and kept in --models; then every way to act plays the same number of fresh episodes. What is
in plan_latency.json already is not measured again. Return and cost come with 95 % intervals, which resample episodes;
for all seeds together, within each seed. Times are medians of single calls of ``predict``, in turns.
"""

import argparse
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from learning import Stored, interval
from planning import TASKS, build, fresh_episodes, trained

import spi_plugins
from spi_integrations.stable_baselines3 import evaluate_policy_with_cost

EPISODES = 200
BATCHES = (1, 64)
ROUNDS = 40
ALONE = {"planner": "policy", "planner_kwargs": None, "decision": None}


def searching(**planner_kwargs: Any) -> Callable[[Any, pathlib.Path], Any]:
    """The trained model with other settings of its planner."""

    def load(model: Any, path: pathlib.Path) -> Any:
        return type(model).load(path, planner_kwargs=planner_kwargs)

    return load


def distilled(model: Any, path: pathlib.Path) -> Any:
    """The policy that imitates the search, kept next to the model."""
    target = path.with_suffix(".distilled.zip")
    if not target.is_file():
        spi_plugins.distill_plans(model).save(target)
    return type(model).load(target)


SHORT = {"iterations": 1, "num_samples": 16, "num_prior": 8, "num_elites": 8}
WAYS: dict[str, Callable[[Any, pathlib.Path], Any]] = {
    "search": lambda model, path: model,
    "one iteration, 16 sequences": searching(**SHORT),
    "policy": lambda model, path: type(model).load(path, **ALONE),
    "distilled": distilled,
}


def latencies(actors: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Milliseconds of a decision by way and batch size: medians, all ways in turns."""
    space = next(iter(actors.values())).observation_space
    space.seed(0)
    found: dict[str, dict[str, float]] = {name: {} for name in actors}
    for size in BATCHES:
        low, high = np.maximum(space.low, -1.0), np.minimum(space.high, 1.0)
        obs = np.random.default_rng(0).uniform(low, high, (size, *space.shape)).astype(np.float32)
        starts, states, times = (
            np.zeros(size, bool),
            dict[str, Any](),
            {name: list[float]() for name in actors},
        )
        for _ in range(ROUNDS):
            for name, actor in actors.items():
                start = time.perf_counter()
                _, states[name] = actor.predict(obs, states.get(name), starts, deterministic=True)
                times[name].append(1000 * (time.perf_counter() - start))
        for name in actors:
            found[name][str(size)] = float(np.median(times[name][2:]))  # the first ones compile
    return found


def measure(name: str, seed: int, folder: pathlib.Path, known: set[str]) -> Iterator[dict[str, Any]]:
    """The rows of a seed that are not known."""
    if known >= set(WAYS):
        return
    path = folder / f"{name}_{seed}.zip"
    model = trained(TASKS[name], build(TASKS[name], TASKS[name].methods[0], seed), path)
    actors = {way: make(model, path) for way, make in WAYS.items()}
    times = latencies(actors)
    for way, actor in actors.items():
        if way in known:
            continue
        cpu = time.process_time()
        env = fresh_episodes(name, 10_000 + seed, EPISODES)
        played = evaluate_policy_with_cost(actor, env, EPISODES, require_cost=TASKS[name].has_costs)
        env.close()
        row = {"task": name, "seed": seed, "way": way, "milliseconds": times[way]}
        row["returns"] = [round(x, 3) for x in played.returns.tolist()]
        row["costs"] = played.costs.tolist() if TASKS[name].has_costs else []
        print(f"{name}, seed {seed}, {way}: {played.mean_return:.2f}, {played.mean_cost:.2f}", flush=True)
        yield {**row, "cpu_seconds": round(time.process_time() - cpu)}


def table(rows: list[dict[str, Any]]) -> str:
    """For each task and way, means over all seeds with intervals, and times next to the policy's."""
    lines = [
        "| task | way | return | cost | ms, 1 state | ms, 64 states | of the policy's |",
        "|---|---|---|---|---|---|---|",
    ]
    for task in dict.fromkeys(row["task"] for row in rows):
        mine = [row for row in rows if row["task"] == task]
        policy = _milliseconds([row for row in mine if row["way"] == "policy"])
        for way in WAYS:
            runs = [row for row in mine if row["way"] == way]
            if not runs:
                continue
            times = _milliseconds(runs)
            ratio = " and ".join(f"{x / y:.1f}" for x, y in zip(times, policy, strict=True))
            cells = interval(runs, "returns"), interval(runs, "costs"), *(f"{x:.2f}" for x in times), ratio
            lines.append(f"| {task} | {way} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _milliseconds(runs: list[dict[str, Any]]) -> list[float]:
    return [float(np.median([run["milliseconds"][str(size)] for run in runs])) for size in BATCHES]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="+", choices=("short_point_goal", "pendulum"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--models", type=pathlib.Path, help="folder that keeps the trained models")
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("."), help="folder for plan_latency.json"
    )
    args = parser.parse_args()
    stored = Stored(args.out / "plan_latency.json")
    folder = args.models or pathlib.Path(tempfile.mkdtemp())
    for name in args.tasks:
        for seed in args.seeds:
            known = {way for way in WAYS if stored.has(task=name, seed=seed, way=way)}
            for row in measure(name, seed, folder, known):
                stored.add(row)
    print("\n" + table(stored.rows))


if __name__ == "__main__":
    main()
