"""PPO-Lag on Point Goal: compiled, stepped, PPO on the wrappers, and SB3's PPO on the wrappers; steps per CPU-second.

The first two have a critic of costs, the others price rewards (`VecLagrangianReward`); `ppo` ignores costs.

    python benchmarks/constrained.py --n-envs 256 --rounds 2

Each measurement is a process of its own on one core, the kinds take turns, and compilation is not counted.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

KINDS = ("compiled", "stepped", "wrappers", "sb3", "ppo")
SETTINGS: dict[str, Any] = {"n_steps": 64, "batch_size": 2048, "n_epochs": 4, "seed": 0}


def build(kind: str, n_envs: int) -> Any:
    from spi_integrations.stable_baselines3 import VecCostMonitor, VecLagrangianReward
    from spi_plugins import PPO
    from spi_plugins.algorithms.vec_envs import FunctionalVecEnv
    from spi_plugins.envs.point_goal import make_point_goal

    env: Any = FunctionalVecEnv(make_point_goal(), n_envs, seed=0)
    if kind in ("compiled", "stepped"):
        limit = {"constraint": "lagrangian", "cost_limit": 5.0}
        return PPO("MlpPolicy", env, compiled=kind == "compiled", **limit, **SETTINGS)
    if kind == "ppo":
        return PPO("MlpPolicy", env, **SETTINGS)
    env = VecLagrangianReward(VecCostMonitor(env), 5.0)
    if kind == "wrappers":
        return PPO("MlpPolicy", env, **SETTINGS)
    import stable_baselines3

    return stable_baselines3.PPO("MlpPolicy", env, device="cpu", **SETTINGS)


def measure(kind: str, n_envs: int, iterations: int) -> float:
    model, rollout = build(kind, n_envs), n_envs * SETTINGS["n_steps"]
    model.learn(2 * rollout)
    before = time.process_time()
    model.learn(iterations * rollout, reset_num_timesteps=False)
    return iterations * rollout / (time.process_time() - before)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n-envs", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
        print(json.dumps(measure(args.child, args.n_envs, args.iterations)))
        return
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(args.rounds):
        for kind in KINDS:
            command = [sys.executable, __file__, "--child", kind, "--n-envs", str(args.n_envs)]
            command += ["--iterations", str(args.iterations)]
            environment = os.environ | {"JAX_PLATFORMS": "cpu"}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            found[kind].append(json.loads(done.stdout.strip().splitlines()[-1]))
    print(f"| PPO-Lag, Point Goal, {args.n_envs} copies | steps / CPU-s | x wrappers |\n|---|---|---|")
    for kind, rates in found.items():
        ratio = statistics.median(a / b for a, b in zip(rates, found["wrappers"], strict=True))
        print(f"| {kind} | {statistics.median(rates):,.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
