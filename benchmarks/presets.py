"""Runs presets as their files say, with three seeds, and prints what their `results` are.

python benchmarks/presets.py ppo CartPole-v1 Pendulum-v1
python benchmarks/presets.py spowl spi/PointGoal-v0 --episodes 64

Each seed is added to docs/results/presets.jsonl; seeds that are in there, with the same settings, are not run again.
"""

import argparse
import json
import pathlib
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from stable_baselines3.common.evaluation import evaluate_policy

import spi_plugins
from spi_integrations.stable_baselines3 import evaluate_policy_with_cost
from spi_plugins import presets
from spi_plugins.algorithms.tuned import preset_env

RECORD = pathlib.Path(__file__).parent.parent / "docs" / "results" / "presets.jsonl"


class Outcome(NamedTuple):
    """A seed: mean return and cost of deterministic episodes after training, and CPU minutes of the training.

    ``settings`` are the preset's, so that an outcome of other settings is not taken for one of these.
    """

    algorithm: str
    env: str
    seed: int
    mean_return: float
    mean_cost: float | None
    episodes: int
    minutes: float
    settings: dict[str, Any]


def run(algorithm: str, env: str, seed: int, episodes: int) -> Outcome:
    """Train one seed as the preset says, and evaluate it on fresh episodes."""
    started = time.process_time()
    model: Any = spi_plugins.make(algorithm, env=env, preset=True, seed=seed)
    model.learn()
    minutes = (time.process_time() - started) / 60
    preset = presets.get(algorithm, env)
    copies = min(model.n_envs, episodes)
    fresh: Any = preset_env(preset, env, n_envs=copies, seed=10_000 + seed, training=False)
    if model.get_vec_normalize_env() is not None:
        fresh.obs_rms = model.get_vec_normalize_env().obs_rms
    if algorithm == "ppo_saute":  # observes the budget
        fresh = model.wrap_env(fresh)
    fresh.reset()
    infos = fresh.step(np.stack([fresh.action_space.sample() for _ in range(fresh.num_envs)]))[3]
    mean_cost = None
    if "cost" in infos[0]:
        result = evaluate_policy_with_cost(model, fresh, episodes)
        mean_return, mean_cost = result.mean_return, round(result.mean_cost, 4)
    else:
        mean_return = float(evaluate_policy(model, fresh, episodes, warn=False)[0])  # type: ignore[arg-type]
    return Outcome(
        *(algorithm, env, seed, round(mean_return, 4), mean_cost, episodes, round(minutes, 2)),
        settings=json.loads(json.dumps(preset.entries)),
    )


def read_record(record: pathlib.Path) -> list[Outcome]:
    """What was measured so far."""
    lines = record.read_text(encoding="utf-8").splitlines() if record.exists() else []
    return [Outcome(**json.loads(line)) for line in lines]


def results(outcomes: Iterable[Outcome]) -> str:
    """``results`` of a preset as its file has them."""
    rows = sorted(outcomes, key=lambda row: row.seed)
    found = f"returns: {_numbers(row.mean_return for row in rows)}"
    if any(row.mean_cost for row in rows) or "cost_limit" in rows[0].settings:
        found += f", costs: {_numbers(row.mean_cost or 0.0 for row in rows)}"
    minutes = np.mean([row.minutes for row in rows])
    return f"{{{found}, episodes: {rows[0].episodes}, minutes: {minutes:.1f}}}"


def _numbers(values: Iterable[float]) -> str:
    return f"[{', '.join(f'{value:.4g}' for value in values)}]"


def main() -> None:
    """Run what is missing, and print the `results` of each preset."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("algorithm")
    parser.add_argument("envs", nargs="+")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--record", type=pathlib.Path, default=RECORD)
    args = parser.parse_args()
    for env in args.envs:
        settings = json.loads(json.dumps(presets.get(args.algorithm, env).entries))
        outcomes = {
            outcome.seed: outcome
            for outcome in read_record(args.record)
            if (outcome.algorithm, outcome.env) == (args.algorithm, env)
            and (outcome.episodes, outcome.settings) == (args.episodes, settings)
        }
        for seed in args.seeds:
            if seed not in outcomes:
                outcomes[seed] = run(args.algorithm, env, seed, args.episodes)
                with args.record.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(outcomes[seed]._asdict()) + "\n")
        found = results(outcomes[seed] for seed in args.seeds)
        print(f"{args.algorithm} {env}\n  results: {found}", flush=True)


if __name__ == "__main__":
    main()
