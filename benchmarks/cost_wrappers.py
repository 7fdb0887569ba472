"""How much a stack of three cost wrappers adds to a step of 128 CartPoles.

The stack computes a cost (the cart is off-center), clips it and monitors episodes. The stack and the bare environment
take turns of 100 steps with the same actions. Each step is timed separately, in CPU time of its thread, and the
overhead compares the medians, so other load on the machine matters little.
"""

import argparse
import json
import statistics
import time

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode

from spi_wrappers.vector import ClipCost, CostFromFn, CostMonitor

TURN = 100


def off_middle(observation, action, next_observation, info):
    """1 where the cart is more than 5 cm off-center."""
    return np.abs(next_observation[:, 0]) > 0.05


def stacked(env):
    return CostMonitor(ClipCost(CostFromFn(env, off_middle, batched=True)), limit=25.0)


def make(num_envs, vectorization, mode):
    kwargs = {"vector_kwargs": {"autoreset_mode": mode}} if vectorization == "sync" else {}
    return gym.make_vec("CartPole-v1", num_envs, vectorization_mode=vectorization, **kwargs)


def microseconds(env, actions):
    """The CPU time of each step."""
    times = []
    for action in actions:
        start = time.thread_time()
        env.step(action)
        times.append(1e6 * (time.thread_time() - start))
    return times


def measure(num_envs, turns, vectorization, mode=AutoresetMode.NEXT_STEP):
    bare, stack = make(num_envs, vectorization, mode), stacked(make(num_envs, vectorization, mode))
    rng = np.random.default_rng(0)
    times = {"bare": [], "stack": []}
    for env in (bare, stack):
        env.reset(seed=0)
        microseconds(env, rng.integers(0, 2, (TURN, num_envs)))
    for _ in range(turns):
        actions = rng.integers(0, 2, (TURN, num_envs))
        times["bare"] += microseconds(bare, actions)
        times["stack"] += microseconds(stack, actions)
    middle = {name: statistics.median(values) for name, values in times.items()}
    return {
        "vectorization": vectorization,
        "autoreset": mode.value,
        "bare_us": round(middle["bare"], 1),
        "stack_us": round(middle["stack"], 1),
        "overhead_percent": round(100 * (middle["stack"] / middle["bare"] - 1), 1),
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num-envs", type=int, default=128, help="copies of CartPole")
    parser.add_argument("--turns", type=int, default=30, help=f"turns of {TURN} steps")
    args = parser.parse_args()
    cases = [
        ("sync", AutoresetMode.NEXT_STEP),
        ("sync", AutoresetMode.SAME_STEP),
        ("vector_entry_point", AutoresetMode.NEXT_STEP),
    ]
    for vectorization, mode in cases:
        print(json.dumps(measure(args.num_envs, args.turns, vectorization, mode)))


if __name__ == "__main__":
    main()
