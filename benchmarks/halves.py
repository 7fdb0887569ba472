"""EnvPool in two halves, of which one is stepped while the actions of the other are chosen, next to one pool.

python benchmarks/halves.py --copies 128 --rounds 3

PPO on Breakout with both, stepped from Python, in turn within one process; and EnvPool alone. Compilation is not
counted.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from spi_integrations.envpool import make_vec
from spi_plugins import PPO

N_STEPS = 8


def alone(env: Any) -> Callable[[], None]:
    """A rollout's steps of the pools, and nothing else."""
    pools = [half.pool for half in getattr(env, "halves", [env])]
    actions = [np.zeros(pool.config["num_envs"], np.int32) for pool in pools]

    def steps() -> None:
        for _ in range(N_STEPS):
            for pool, action in zip(pools, actions, strict=True):
                pool.send(action)
            for pool in pools:
                pool.recv()

    env.reset()
    return steps


def rollouts(env: Any) -> Callable[[], None]:
    """PPO's rollouts, without the update."""
    model = PPO("CnnPolicy", env, n_steps=N_STEPS, batch_size=2 * env.num_envs, compiled=False, seed=0)
    callbacks: Any = model._setup_learn(10**9)[1]
    model._collector = collector = model._make_collector()
    model._start(collector)

    def steps() -> None:
        model._take_rows(collector, callbacks)

    return steps


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--copies", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rollouts", type=int, default=4, help="of a round")
    args = parser.parse_args()
    ways: dict[str, Callable[[], None]] = {}
    for name, halves in (("one pool", False), ("halves", True)):
        for what, make in (("EnvPool alone", alone), ("PPO's rollouts", rollouts)):
            ways[f"{what}, {name}"] = make(make_vec("Breakout-v5", args.copies, halves=halves))
    speeds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for steps in ways.values():
        steps()
    for _ in range(args.rounds):
        for name, steps in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(args.rollouts):
                steps()
            taken = args.rollouts * N_STEPS * args.copies
            speeds[name].append((taken / (time.perf_counter() - wall), taken / (time.process_time() - cpu)))
    print(f"{args.copies} copies, {os.cpu_count()} cores\n\n| | steps / s | steps / CPU-s |\n|---|---|---|")
    for name, pairs in speeds.items():
        by_wall, by_cpu = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"| {name} | {by_wall:,.0f} | {by_cpu:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
