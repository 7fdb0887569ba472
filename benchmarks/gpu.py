"""Every check that needs an accelerator, in one run: longest compilations first, each part under its own time limit.

python benchmarks/gpu.py --out results            # seven minutes at most
python benchmarks/gpu.py --out results --long     # six more: Breakout and SPOWL learn for two minutes each
python benchmarks/gpu.py --tiny                   # a dry run, on a CPU too

Each part runs in a process of its own, and what it measured before its limit is kept. Writes gpu.json and gpu.md, and
prints the table. A part whose package is missing says so. The aims are those of docs/performance.md.
"""

import argparse
import functools
import importlib.util
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple


class Measured(NamedTuple):
    """A line of the table."""

    what: str
    value: float
    unit: str
    aim: str = ""


def timed(call: Callable[[], Any], rounds: int) -> float:
    """Median wall time of a call, in milliseconds, after one that is not counted."""
    import jax

    jax.block_until_ready(call())
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(1000 * (time.perf_counter() - start))
    return sorted(times)[len(times) // 2]


def matmul(tiny: bool) -> Iterator[Measured]:
    """The device's ceilings."""
    import jax
    import jax.numpy as jnp

    size = 64 if tiny else 8192
    for precision in ("highest", "tensorfloat32", "bfloat16"):
        with jax.default_matmul_precision(precision):
            product = jax.jit(lambda a: a @ a)
            milliseconds = timed(functools.partial(product, jnp.ones((size, size))), 5)
        yield Measured(f"product of {size}, {precision}", 2 * size**3 / milliseconds / 1e9, "TFLOP/s")


def spowl_model(tiny: bool, precision: str, **changes: Any) -> Any:
    """SPOWL of the papers' size on Point Goal, 10 copies."""
    from spi_plugins import SPOWL
    from spi_plugins.envs.point_goal import make_point_goal

    sizes: dict[str, Any] = {"model_size": "5m", "learning_starts": 50, "train_freq": 5}
    if tiny:
        sizes = {
            "model_size": "small", "learning_starts": 20, "train_freq": 2, "batch_size": 4, "horizon": 2,
            "policy_kwargs": {"encoder_hidden": (8,), "latent_dim": 8, "hidden": (8,), "n_bins": 5, "n_values": 2,
                              "n_costs": 1},
            "planner_kwargs": {"num_samples": 6, "num_prior": 2, "num_elites": 2, "iterations": 1},
        }  # fmt: skip
    arguments = {"n_envs": 10, "buffer_size": 100_000, "seed": 0, "precision": precision, **sizes, **changes}
    return SPOWL("MlpPolicy", make_point_goal(), **arguments)


def spowl(tiny: bool) -> Iterator[Measured]:
    """P10 and P11: the papers' size, from ``learn`` on, and how long a decision and a gradient step take."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    start = time.perf_counter()
    model = spowl_model(tiny, "tf32")
    yield Measured("SPOWL: making the model", time.perf_counter() - start, "s")
    start = time.perf_counter()
    model.learn(model.learning_starts + 1)
    jax.block_until_ready(model._agent_state)
    yield Measured(
        "SPOWL: first decision and gradient step, compilation included",
        time.perf_counter() - start,
        "s",
        "30; 5 again",
    )
    agent, state, n = model.agent, model._agent_state, 2 if tiny else 20
    act = jax.jit(functools.partial(agent.act, deterministic=False))
    inputs = jnp.asarray(model._last_obs), agent.init_plan(10), jnp.zeros(10, bool), jax.random.key(0)
    yield Measured("SPOWL, tf32: decision for 10", timed(lambda: act(state.params, *inputs), n), "ms", "8")
    update = jax.jit(agent.update)
    steps = timed(lambda: update(state, model.replay_buffer, np.int32(n), np.float32(3e-4)), 3)
    yield Measured("SPOWL, tf32: gradient step", steps / n, "ms", "3")
    before, start = model.num_timesteps, time.perf_counter()
    model.learn(20 if tiny else 1500, reset_num_timesteps=False)
    jax.block_until_ready(model._agent_state)
    speed = (model.num_timesteps - before) / (time.perf_counter() - start)
    yield Measured("SPOWL, compiled: one gradient step for each step", speed, "steps/s", "100")


def cartpole(tiny: bool) -> Iterator[Measured]:
    """P13: compiled PPO and DeepSPI."""
    import jax

    from spi_plugins import PPO, DeepSPI
    from spi_plugins.envs.cartpole import make_cartpole

    copies, n_steps = (2, 4) if tiny else (4096, 32)
    for cls, aim in ((PPO, "5"), (DeepSPI, "2.5")):
        shared = {
            "n_envs": copies,
            "n_steps": n_steps,
            "batch_size": copies * n_steps // 4,
            "n_epochs": 4,
            "seed": 0,
        }
        model = cls("MlpPolicy", make_cartpole(), **shared)
        steps = copies * n_steps * (1 if tiny else 40)
        model.learn(steps, log_interval=None)  # compiles
        jax.block_until_ready(model._agent_state)
        start = time.perf_counter()
        model.learn(steps, log_interval=None)
        jax.block_until_ready(model._agent_state)
        speed = model.num_timesteps / (time.perf_counter() - start) / 1e6
        yield Measured(f"{cls.__name__} on CartPole, {copies} copies", speed, "M steps/s", aim)


def seeds(tiny: bool) -> Iterator[Measured]:
    """P16: eight seeds in one program."""
    import jax

    from spi_plugins import PPO
    from spi_plugins.algorithms.joint_training import learn_together
    from spi_plugins.envs.cartpole import make_cartpole

    copies, n_steps = (2, 4) if tiny else (128, 32)
    shared = {"n_envs": copies, "n_steps": n_steps, "batch_size": copies * n_steps // 4, "n_epochs": 4}
    rollout, many = copies * n_steps, 1 if tiny else 60
    times = []
    for count in (1, 2 if tiny else 8):
        models = [PPO("MlpPolicy", make_cartpole(), seed=seed, **shared) for seed in range(count)]
        learn = models[0].learn if count == 1 else functools.partial(learn_together, models)
        learn(rollout * many, log_interval=None)  # compiles
        start = time.perf_counter()
        learn(rollout * many, log_interval=None)
        jax.block_until_ready(models[0]._agent_state)
        times.append(time.perf_counter() - start)
        yield Measured(f"PPO on CartPole, {count} seed(s): {rollout * many} steps each", times[-1], "s")
    yield Measured("time of all seeds to that of one", times[1] / times[0], "", "2.5")


def atari(tiny: bool) -> Iterator[Measured]:
    """P12: PPO next to EnvPool alone, on the same cores."""
    if importlib.util.find_spec("envpool") is None:
        yield Measured("Breakout: EnvPool is not installed", float("nan"), "")
        return
    import numpy as np

    from spi_integrations.envpool import make_vec
    from spi_plugins import PPO

    for copies in (2,) if tiny else (128, 512):
        alone = 0.0
        for halves in (False, True):
            env: Any = make_vec("Breakout-v5", copies, seed=0, halves=halves)
            name = f"Breakout, {copies} copies"
            if not halves:
                env.reset()
                actions, steps = np.zeros(copies, np.int32), 4 if tiny else 20_000 // copies
                start = time.perf_counter()
                for _ in range(steps):
                    env.pool.step(actions)
                alone = steps * copies / (time.perf_counter() - start)
                yield Measured(f"{name}: EnvPool alone", alone, "steps/s")
            model = PPO("CnnPolicy", env, n_steps=2 if tiny else 8, batch_size=2 * copies, seed=0)
            rollout = model.n_steps * copies
            model.learn(rollout)
            start = time.perf_counter()
            steps = rollout * (1 if tiny else max(1, 30_000 // rollout))
            model.learn(steps, reset_num_timesteps=False, log_interval=None)
            speed = (model.num_timesteps - rollout) / (time.perf_counter() - start)
            ours = f"{name}{', in halves' if halves else ''}: PPO"
            yield Measured(ours, speed, "steps/s")
            yield Measured(f"{ours} of EnvPool alone", speed / alone, "", "0.7")
            env.close()


def learned(model: Any, seconds: float) -> Iterator[Measured]:
    """A curve: the mean return (and cost) of the last episodes, at ten points of a training of some seconds."""
    from stable_baselines3.common.callbacks import BaseCallback

    class UntilNext(BaseCallback):
        end = 0.0

        def _on_step(self) -> bool:
            return time.perf_counter() < self.end

    name, points = type(model).__name__, 10
    start, until = time.perf_counter(), UntilNext()
    for point in range(1, points + 1):
        until.end = start + seconds * point / points
        model.learn(10**9, callback=until, reset_num_timesteps=point == 1, log_interval=None)
        for key, what in (("r", "return"), ("c", "cost")):
            values = [episode[key] for episode in model.ep_info_buffer if key in episode]
            if values:
                at = f"{name} at {model.num_timesteps} steps: {what}"
                yield Measured(at, sum(values) / len(values), "")
    yield Measured(f"{name}: steps", model.num_timesteps / (time.perf_counter() - start), "steps/s")


def breakout(tiny: bool, algorithm: str) -> Iterator[Measured]:
    """Breakout for two minutes."""
    if importlib.util.find_spec("envpool") is None:
        yield Measured("Breakout: EnvPool is not installed", float("nan"), "")
        return
    import spi_plugins
    from spi_integrations.envpool import make_vec

    env: Any = make_vec("Breakout-v5", 2 if tiny else 128, seed=1, halves=True)
    model = getattr(spi_plugins, algorithm)("CnnPolicy", env, n_steps=2 if tiny else 8, seed=1)
    yield from learned(model, 1.0 if tiny else 105.0)
    env.close()


def safety_task() -> Any:
    """SafetyPointGoal1 in decisions of five frames, as the papers run it."""
    import gymnasium

    import spi_integrations.safety_gymnasium  # noqa: F401 - registers the ids
    from spi_wrappers import ActionRepeat, CostMonitor

    return CostMonitor(ActionRepeat(gymnasium.make("spi/SafetyPointGoal1-v0"), 5))


def safety(tiny: bool) -> Iterator[Measured]:
    """SPOWL of the papers' size for two minutes, on SafetyPointGoal1 where MuJoCo is installed."""
    if tiny or importlib.util.find_spec("safety_gymnasium") is None:
        yield from learned(spowl_model(tiny, "tf32"), 1.0 if tiny else 105.0)
        return
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import SubprocVecEnv

    from spi_plugins import SPOWL

    processes = {"start_method": "forkserver"}
    env = make_vec_env(safety_task, 10, 0, vec_env_cls=SubprocVecEnv, vec_env_kwargs=processes)
    yield from learned(SPOWL("MlpPolicy", env, train_freq=5, precision="tf32", seed=0), 105.0)
    env.close()


class Part(NamedTuple):
    measure: Callable[[bool], Iterator[Measured]]
    limit: float  # seconds
    at_once: bool = False  # with the part before it


CORE = {
    "spowl": Part(spowl, 110.0),
    "spowl again": Part(spowl, 70.0),  # its programs are on the disk
    "seeds": Part(seeds, 80.0),
    "cartpole": Part(cartpole, 80.0),
    "atari": Part(atari, 65.0),
    "matmul": Part(matmul, 25.0),
}
LONG = {
    "safety": Part(safety, 150.0),
    "breakout PPO": Part(functools.partial(breakout, algorithm="PPO"), 150.0),
    "breakout DeepSPI": Part(functools.partial(breakout, algorithm="DeepSPI"), 150.0, at_once=True),
}


def start_part(name: str, tiny: bool, cache: str) -> subprocess.Popen[str]:
    """Measure a part in a process of its own, which prints a line of JSON for each figure."""
    command = [sys.executable, __file__, "--child", name, *(["--tiny"] if tiny else [])]
    environment = {**os.environ, "SPI_COMPILE_CACHE": cache, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish_part(process: subprocess.Popen[str], seconds: float) -> dict[str, Any]:
    """What a part has measured within its limit, and how it ended."""
    ended = "done"
    try:
        out, errors = process.communicate(timeout=max(seconds, 0.1))
    except subprocess.TimeoutExpired:
        process.kill()
        out, errors = process.communicate()
        ended = "cut at its limit"
    if ended == "done" and process.returncode:
        ended = "failed: " + (errors.strip().splitlines() or ["no message"])[-1]
    return {
        "ended": ended,
        "figures": [json.loads(line) for line in out.splitlines() if line.startswith("[")],
    }


def run(parts: dict[str, Part], tiny: bool, cache: str) -> dict[str, Any]:
    """All parts, one after the other, except for those that run next to the one before."""
    results: dict[str, Any] = {}
    names = list(parts)
    while names:
        group = [names.pop(0)]
        while names and parts[names[0]].at_once:
            group.append(names.pop(0))
        begin = time.perf_counter()
        processes = {name: start_part(name, tiny, cache) for name in group}
        for name, process in processes.items():
            limit = parts[name].limit * (4 if tiny else 1)  # a dry run is not about time
            results[name] = finish_part(process, limit - (time.perf_counter() - begin))
            print(f"{name}: {results[name]['ended']}, {time.perf_counter() - begin:.0f} s", flush=True)
            print(table({name: results[name]}), flush=True)  # also if what comes later is cut
    return results


def table(results: dict[str, Any]) -> str:
    rows = ["| part | what | figure | aim |", "|---|---|---|---|"]
    for name, result in results.items():
        for what, value, unit, aim in result["figures"]:
            rows.append(f"| {name} | {what} | {value:.4g} {unit} | {aim} |")
        if result["ended"] != "done":
            rows.append(f"| {name} | {result['ended']} | | |")
    return "\n".join(rows)


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--long", action="store_true", help="also the runs of two minutes")
    parser.add_argument("--tiny", action="store_true", help="a dry run")
    parser.add_argument("--parts", nargs="+", choices=[*CORE, *LONG], help="only these")
    parser.add_argument("--out", type=pathlib.Path, help="folder of gpu.json and gpu.md")
    parser.add_argument("--child", choices=[*CORE, *LONG], help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    every = CORE | LONG
    if args.child:
        for figure in every[args.child].measure(args.tiny):
            print(json.dumps(figure), flush=True)
        return {}
    parts = {name: every[name] for name in args.parts} if args.parts else CORE | (LONG if args.long else {})
    with tempfile.TemporaryDirectory() as cache:
        results: dict[str, Any] = {"parts": run(parts, args.tiny, cache)}
    names = "import jax; print([d.device_kind for d in jax.devices()], jax.__version__)"
    results["device"] = subprocess.run(
        [sys.executable, "-c", names], capture_output=True, text=True
    ).stdout.strip()
    results["python"], results["cores"] = platform.python_version(), os.cpu_count()
    text = f"{results['device']}, Python {results['python']}, {results['cores']} cores\n\n{table(results['parts'])}\n"
    print(text)
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "gpu.json").write_text(json.dumps(results, indent=1) + "\n")
        (args.out / "gpu.md").write_text(text)
    return results


if __name__ == "__main__":
    main()
