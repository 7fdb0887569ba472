"""PPO and DeepSPI against Stable-Baselines3, SBX and rejax: environment steps per CPU-second and per second.

Every measurement runs in a fresh process, and the libraries take turns, so a machine whose speed drifts treats them
alike. Compilation and the first iterations are not counted. Ratios are to SB3 in the same round; the tables show
medians over the rounds.

    make bench                                        # everything, about half an hour on two cores
    .venv-bench/bin/python benchmarks/ppo.py --setting cartpole-8 --rounds 3
    .venv-bench/bin/python benchmarks/ppo.py --setting cartpole-64 --setting cartpole-2048 \
        --before FOLDER    # next to another checkout of this repository, in the same rounds
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from typing import Any, NamedTuple


class Setting(NamedTuple):
    env: str
    n_envs: int
    n_steps: int
    batch_size: int
    n_epochs: int
    steps: int  # counted
    libraries: tuple[str, ...]


COMPILED = ("rejax", "ppo-compiled", "deep_spi-compiled")
MLP = ("sb3", "sbx", "ppo", "ppo-compiled", "deep_spi", "deep_spi-compiled")
CNN = ("sb3", "sbx", "ppo", "ppo-compiled", "deep_spi-compiled")
SETTINGS = {
    # SB3's default batch.
    "cartpole-8": Setting("CartPole-v1", 8, 256, 64, 10, 20_480, MLP),
    "cartpole-64": Setting("CartPole-v1", 64, 128, 2048, 4, 81_920, (*MLP, "rejax")),
    "cartpole-2048": Setting("CartPole-v1", 2048, 32, 16_384, 4, 196_608, COMPILED),
    "breakout-32": Setting("Breakout-v5", 32, 32, 256, 4, 4_096, CNN),
    "breakout-128": Setting("Breakout-v5", 128, 8, 256, 4, 4_096, CNN),
}


def build(library: str, setting: Setting) -> Any:
    """Make the model of one library. All have the same network, batch and number of epochs."""
    common: dict[str, Any] = {
        "n_steps": setting.n_steps, "batch_size": setting.batch_size, "n_epochs": setting.n_epochs,
        "learning_rate": 2.5e-4, "ent_coef": 0.01, "seed": 0,
    }  # fmt: skip
    atari = setting.env == "Breakout-v5"
    policy = "CnnPolicy" if atari else "MlpPolicy"
    name, _, mode = library.partition("-")
    if atari:
        from spi_integrations.envpool import make_vec

        env: Any = make_vec(setting.env, setting.n_envs, seed=0)
    elif mode == "compiled":
        from spi_plugins.algorithms.vec_envs import FunctionalVecEnv
        from spi_plugins.envs.cartpole import make_cartpole

        env = FunctionalVecEnv(make_cartpole(), setting.n_envs, seed=0)
    else:
        from stable_baselines3.common.env_util import make_vec_env

        env = make_vec_env(setting.env, setting.n_envs, seed=0)
    if name == "sb3":
        from stable_baselines3 import PPO

        return PPO(policy, env, clip_range=0.1, device="cpu", **common)
    if name == "sbx":
        from sbx import PPO as SBXPPO

        return SBXPPO(policy, env, clip_range=0.1, **common)
    import spi_plugins

    return spi_plugins.make(name, policy, env, clip_range=0.1, compiled=mode == "compiled", **common)


def measure(library: str, setting: Setting, threads: int | None) -> dict[str, float]:
    """Measure in this process, after two iterations of warm-up."""
    if library == "rejax":
        return measure_rejax(setting)
    if library.startswith("sb3") and threads:
        import torch

        torch.set_num_threads(threads)
    model = build(library, setting)
    model.learn(2 * setting.n_steps * setting.n_envs)
    cpu, wall, before = time.process_time(), time.perf_counter(), model.num_timesteps
    model.learn(setting.steps, reset_num_timesteps=False)
    done = model.num_timesteps - before
    speeds = {"cpu": done / (time.process_time() - cpu), "wall": done / (time.perf_counter() - wall)}
    return {**speeds, **floor_of(model)}


def floor_of(model: Any) -> dict[str, float]:
    """Steps per CPU-second at which the matrix products of our compiled programs alone would go."""
    collector: Any = getattr(model, "_collector", None)
    if not hasattr(collector, "iterate"):  # another library, or stepped from Python
        return {}
    from floor import matmul_flops, product_flops

    runner, rates = collector.runner(model._agent_state), model.rates(0, 1)
    flops = product_flops(collector._run_at_once, runner, collector.env.params, *rates)
    return {"floor": model.n_steps * model.n_envs * matmul_flops() / flops}


def measure_rejax(setting: Setting) -> dict[str, float]:
    """Its whole training is one program, which runs once to compile and once to be measured."""
    import jax
    import rejax

    algorithm = rejax.PPO.create(
        env=setting.env, num_envs=setting.n_envs, num_steps=setting.n_steps, num_epochs=setting.n_epochs,
        num_minibatches=setting.n_envs * setting.n_steps // setting.batch_size, learning_rate=2.5e-4,
        clip_eps=0.1, ent_coef=0.01, total_timesteps=setting.steps, eval_freq=setting.steps,
        skip_initial_evaluation=True, agent_kwargs={"activation": "tanh", "hidden_layer_sizes": (64, 64)},
    )  # fmt: skip
    algorithm = algorithm.replace(eval_callback=lambda *_: ())
    train = jax.jit(algorithm.train)
    jax.block_until_ready(train(jax.random.key(0)))
    cpu, wall = time.process_time(), time.perf_counter()
    jax.block_until_ready(train(jax.random.key(1)))
    return {
        "cpu": setting.steps / (time.process_time() - cpu),
        "wall": setting.steps / (time.perf_counter() - wall),
    }


def run_child(library: str, name: str, cores: int, first: int) -> dict[str, float] | None:
    """Measure once in a fresh process, pinned to ``cores`` processors."""
    library, _, before = library.partition("@")
    command = [sys.executable, __file__, "--child", library, "--setting", name, "--cores", str(cores)]
    command += ["--first-core", str(first)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    if before:
        environment["PYTHONPATH"] = os.pathsep.join([before, f"{before}/wrappers", f"{before}/integrations"])
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or "no message").splitlines()[-1]
        print(f"    {library}: failed: {reason}", flush=True)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def report(name: str, setting: Setting, rounds: int, cores: int, first: int) -> None:
    """Alternate the libraries and print the medians."""
    print(f"\n### {name}: {setting.env}, {setting.n_envs} x {setting.n_steps}, batch {setting.batch_size}, "
          f"{setting.n_epochs} epochs, {cores} core(s)\n", flush=True)  # fmt: skip
    results: dict[str, list[dict[str, float]]] = {library: [] for library in setting.libraries}
    ratios: dict[str, list[tuple[float, float]]] = {library: [] for library in setting.libraries}
    base_name = setting.libraries[0]  # what ratios are to
    for _ in range(rounds):
        one = {library: run_child(library, name, cores, first) for library in setting.libraries}
        base = one[base_name]
        for library, result in one.items():
            if result is not None:
                results[library].append(result)
                if base is not None:
                    ratios[library].append((result["cpu"] / base["cpu"], result["wall"] / base["wall"]))
    print(
        f"| | steps / CPU-s | its floor | steps / s | x {base_name} by CPU-s | x {base_name} by wall |\n"
        "|---|---|---|---|---|---|"
    )
    for library, rows in results.items():
        if rows:
            cpu, wall = (statistics.median(row[key] for row in rows) for key in ("cpu", "wall"))
            by_cpu, by_wall = (statistics.median(pair[i] for pair in ratios[library]) for i in (0, 1))
            floor = f"{rows[0]['floor']:,.0f}" if "floor" in rows[0] else ""
            print(
                f"| {library} | {cpu:,.0f} | {floor} | {wall:,.0f} | {by_cpu:.2f} | {by_wall:.2f} |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--setting", choices=SETTINGS, action="append")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=1, help="processors to pin each process to")
    parser.add_argument("--first-core", type=int, default=0)
    parser.add_argument("--library", action="append", help="only these")
    parser.add_argument("--before", help="another checkout, whose compiled PPO and DeepSPI are measured, too")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[args.first_core :][: args.cores])
        print(json.dumps(measure(args.child, SETTINGS[args.setting[0]], args.cores)))
        return
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, "
          f"Python {platform.python_version()}")  # fmt: skip
    for name in args.setting or SETTINGS:
        libraries = tuple(x for x in SETTINGS[name].libraries if not args.library or x in args.library)
        if args.before:
            libraries += tuple(f"{x}@{args.before}" for x in libraries if x.endswith("-compiled"))
        report(name, SETTINGS[name]._replace(libraries=libraries), args.rounds, args.cores, args.first_core)


if __name__ == "__main__":
    main()
