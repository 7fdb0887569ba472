"""Runs presets as their files say, with three seeds, and prints what their `results` are.

python benchmarks/presets.py ppo CartPole-v1 Pendulum-v1
python benchmarks/presets.py spowl spi/PointGoal-v0 --episodes 64
"""

import argparse
import time
from typing import Any

import numpy as np
from stable_baselines3.common.evaluation import evaluate_policy

import spi_plugins
from spi_integrations.stable_baselines3 import evaluate_policy_with_cost
from spi_plugins import presets
from spi_plugins.algorithms.tuned import preset_env


def run(algorithm: str, env: str, seed: int, episodes: int) -> tuple[float, float, float]:
    """Mean return and cost of deterministic episodes after training, and CPU minutes of the training."""
    started = time.process_time()
    model: Any = spi_plugins.make(algorithm, env=env, preset=True, seed=seed)
    model.learn()
    minutes = (time.process_time() - started) / 60
    copies = min(model.n_envs, episodes)
    fresh: Any = preset_env(
        presets.get(algorithm, env), env, n_envs=copies, seed=10_000 + seed, training=False
    )
    if model.get_vec_normalize_env() is not None:
        fresh.obs_rms = model.get_vec_normalize_env().obs_rms
    if algorithm == "ppo_saute":  # observes the budget
        fresh = model.wrap_env(fresh)
    fresh.reset()
    infos = fresh.step(np.stack([fresh.action_space.sample() for _ in range(fresh.num_envs)]))[3]
    if "cost" not in infos[0]:
        return float(evaluate_policy(model, fresh, episodes, warn=False)[0]), 0.0, minutes
    result = evaluate_policy_with_cost(model, fresh, episodes)
    return result.mean_return, result.mean_cost, minutes


def main() -> None:
    """Print the `results` of each preset as the files have them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("algorithm")
    parser.add_argument("envs", nargs="+")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--episodes", type=int, default=50)
    args = parser.parse_args()
    for env in args.envs:
        outcomes = np.array([run(args.algorithm, env, seed, args.episodes) for seed in args.seeds])
        returns, costs, minutes = outcomes.T
        found = f"returns: {_numbers(returns)}"
        if costs.any():
            found += f", costs: {_numbers(costs)}"
        found += f", episodes: {args.episodes}, minutes: {minutes.mean():.1f}"
        print(f"{args.algorithm} {env}\n  results: {{{found}}}", flush=True)


def _numbers(values: Any) -> str:
    return f"[{', '.join(f'{value:.4g}' for value in values)}]"


if __name__ == "__main__":
    main()
