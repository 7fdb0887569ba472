"""Environment steps per CPU-second of SPOWL and TD-MPC2 on Point Goal: compiled, stepped from Python, and of old code.

python benchmarks/off_policy.py --against ../spi-plugins-of-yesterday

Size "small", 16 copies. With as many gradient steps as environment steps, the networks are all of the work; with fewer,
the loop around them counts. Every measurement runs in a process of its own, and they take turns; the first iterations,
which compile, are not counted. Medians over the rounds.
"""

import argparse
import functools
import os
import pathlib
import statistics
import subprocess
import sys
import time
from typing import Any

COPIES, TRAIN_FREQ = 16, 25
# (gradient steps of an iteration of 400 environment steps, iterations that are counted)
SETTINGS = {"a gradient step each step": (-1, 2), "one for 16 steps": (25, 8), "steps alone": (1, 16)}


def make(algorithm: str, setting: str, **arguments: Any) -> Any:
    import spi_plugins
    from spi_plugins.envs.point_goal import make_point_goal

    return getattr(spi_plugins, algorithm)(
        "MlpPolicy", make_point_goal(), n_envs=COPIES, model_size="small", train_freq=TRAIN_FREQ, seed=0,
        gradient_steps=SETTINGS[setting][0], learning_starts=COPIES * TRAIN_FREQ, buffer_size=100_000, **arguments,
    )  # fmt: skip


def speed(algorithm: str, setting: str, compiled: str) -> float:
    """Environment steps per CPU-second."""
    model = make(algorithm, setting, **({"compiled": False} if compiled == "no" else {}))
    iteration, iterations = COPIES * TRAIN_FREQ, SETTINGS[setting][1]
    model.learn(2 * iteration)
    start = time.process_time()
    model.learn(iterations * iteration, reset_num_timesteps=False)
    return iterations * iteration / (time.process_time() - start)


def floor(algorithm: str, setting: str) -> float:
    """Environment steps per CPU-second at which the matrix products alone would go."""
    import jax
    import numpy as np
    from floor import matmul_flops, product_flops

    model = make(algorithm, setting)
    model.learn(COPIES)
    agent, state = model.agent, model._agent_state
    inputs = np.asarray(model._last_obs), agent.init_plan(COPIES), np.zeros(COPIES, bool), jax.random.key(0)
    decide = functools.partial(agent.act, deterministic=False)
    decision = product_flops(decide, state.params, *inputs) / COPIES
    update = product_flops(agent.update, state, model.replay_buffer, np.int32(1), np.float32(3e-4))
    iteration = COPIES * TRAIN_FREQ
    updates = SETTINGS[setting][0] if SETTINGS[setting][0] > 0 else iteration
    return matmul_flops() / (decision + update * updates / iteration)


def measure(root: pathlib.Path, *words: str) -> float:
    paths = [root, root / "wrappers", root / "integrations"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    command = [sys.executable, __file__, "--child", *words]
    return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", type=pathlib.Path, help="another checkout, which steps in Python")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--algorithms", nargs="+", default=["SPOWL", "TDMPC2"])
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        algorithm, setting, way = args.child
        print(floor(algorithm, setting) if way == "floor" else speed(algorithm, setting, way))
        return
    here = pathlib.Path(__file__).resolve().parents[1]
    ways = {"compiled": (here, "yes"), "stepped": (here, "no")}
    if args.against:
        ways["other checkout"] = (args.against.resolve(), "yes")
    print("| algorithm | gradient steps | " + " | ".join(ways) + " | compiled to the last | floor |")
    print("|---|---|" + "---|" * (len(ways) + 2))
    for algorithm in args.algorithms:
        for setting in args.settings:
            rounds = [
                [measure(root, algorithm, setting, compiled) for root, compiled in ways.values()]
                for _ in range(args.rounds)
            ]
            medians = [statistics.median(column) for column in zip(*rounds, strict=True)]
            speeds = " | ".join(f"{x:.0f}" for x in medians)
            ratio, least = medians[0] / medians[-1], measure(here, algorithm, setting, "floor")
            print(f"| {algorithm} | {setting} | {speeds} | {ratio:.2f} | {least:.0f} |", flush=True)


if __name__ == "__main__":
    main()
