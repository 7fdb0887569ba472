"""Training on virtual devices of one CPU against one device on the same cores: what dividing the work costs.

Real devices add their own computing power; virtual ones share the cores, so that copies and waiting are all that
changes. Each number of devices has a process of its own. The processes live side by side and take turns by iterations,
so a machine whose speed drifts treats them alike. Compilation is not counted.

    python benchmarks/devices.py                    # four devices and one, on two cores
    python benchmarks/devices.py --setting ppo-wide --rounds 20 --devices 2
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

SETTINGS = ("ppo-cartpole", "ppo-wide", "deep_spi", "tdmpc2")


def build(setting: str, devices: int) -> Any:
    """The model, on environments inside JAX."""
    from spi_plugins import PPO, TDMPC2, DeepSPI
    from spi_plugins.envs.cartpole import make_cartpole
    from spi_plugins.envs.point_goal import make_point_goal

    common: dict[str, Any] = {"seed": 0, "device": devices}
    rollout = {"n_envs": 1024, "n_steps": 32, "batch_size": 8192, "n_epochs": 4}
    if setting == "ppo-cartpole":
        return PPO("MlpPolicy", make_cartpole(), **rollout, **common)
    if setting == "ppo-wide":
        return PPO(
            "MlpPolicy", make_point_goal(), policy_kwargs={"net_arch": [256, 256]}, **rollout, **common
        )
    if setting == "deep_spi":
        return DeepSPI(
            "MlpPolicy", make_point_goal(), transition_density="deterministic", **rollout, **common
        )
    learning = {"learning_starts": 64, "train_freq": 4, "gradient_steps": 4, "buffer_size": 100_000}
    return TDMPC2("MlpPolicy", make_point_goal(), n_envs=16, model_size="small", **learning, **common)


def child(setting: str, devices: int) -> None:
    """Make an iteration for each line that comes in, and answer with its seconds."""
    model = build(setting, devices)
    steps = model.n_envs * (model.n_steps if hasattr(model, "n_steps") else model.train_freq)
    model.learn(8 * steps, log_interval=None)
    print(steps, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        model.learn(steps, log_interval=None, reset_num_timesteps=False)
        print(time.perf_counter() - start, flush=True)


def start(setting: str, devices: int, cores: int) -> subprocess.Popen[str]:
    """Open the process for a number of devices."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    words = [sys.executable, __file__, "--child", str(devices), "--setting", setting, "--cores", str(cores)]
    return subprocess.Popen(words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def measure(setting: str, devices: int, cores: int, rounds: int) -> dict[str, float]:
    """Environment steps per second of one device and of several, medians over the rounds."""
    processes = [start(setting, count, cores) for count in (1, devices)]
    try:
        steps, _ = (int(process.stdout.readline()) for process in processes)
        seconds: list[list[float]] = [[], []]
        for _ in range(rounds):
            for process, found in zip(processes, seconds, strict=True):
                process.stdin.write("\n")
                process.stdin.flush()
                found.append(float(process.stdout.readline()))
    finally:
        for process in processes:
            process.stdin.close()
            process.wait()
    one, several = map(statistics.median, seconds)
    ratios = [a / b for a, b in zip(*seconds, strict=True)]
    return {"one": steps / one, "several": steps / several, "ratio": statistics.median(ratios)}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--setting", action="append", choices=SETTINGS, help="only these")
    parser.add_argument("--devices", type=int, default=4)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])
        child(args.setting[0], args.child)
        return
    for setting in args.setting or SETTINGS:
        found = measure(setting, args.devices, args.cores, args.rounds)
        print(json.dumps({"setting": setting, "devices": args.devices, "cores": args.cores, **found}))


if __name__ == "__main__":
    main()
