"""CPU time of SPOWL's decisions and gradient steps, compilation included, against the official code's figures.

python benchmarks/spowl.py small 5m
python benchmarks/spowl.py small --against ../spi-plugins-of-yesterday

The first also prints the floor, a matrix product's speed. The second times another checkout of the repository in turn,
in processes of their own. The official figures (AIRI-Institute/SPOWL, commit 967e6cb) were taken on a shared two-core
Xeon with AVX-512; on other machines only shares of the floor and ratios are meaningful.
"""

import argparse
import functools
import json
import os
import pathlib
import subprocess
import sys
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from floor import cpu_seconds, matmul_flops, product_flops

from spi_plugins import buffers
from spi_plugins.agents.planning import PlanningAgent
from spi_plugins.agents.spowl.config import SPOWLConfig
from spi_plugins.agents.spowl.update import make_spowl
from spi_plugins.planners.decision import adaptive
from spi_plugins.planners.safe_improvement import make_safe_improvement
from spi_plugins.types import ActionSpec, ArraySpec
from spi_plugins.world_models.tdmpc_networks import TDMPCConfig

OBSERVATIONS = ArraySpec(kind="box", shape=(60,), dtype="float32")  # Safety PointGoal's
ACTIONS = ActionSpec(kind="box", shape=(2,), low=(-1.0, -1.0), high=(1.0, 1.0))


class Size(NamedTuple):
    model: dict[str, Any]
    planner: dict[str, Any]
    batch_size: int
    rounds: int
    steps: int  # gradient steps in a call
    official: dict[str, float]  # CPU-seconds


SIZES = {
    "small": Size(
        {"encoder_hidden": (64,), "latent_dim": 64, "hidden": (64, 64)},
        {"num_samples": 64, "num_prior": 8, "num_elites": 16, "iterations": 3},
        64, 20, 50, {"decision, 10 environments": 0.176, "gradient step": 0.041},
    ),
    "5m": Size(
        {}, {}, 256, 3, 2,
        {"decision, 1 environment": 3.1, "decision, 10 environments": 40.0, "gradient step": 2.66},
    ),
}  # fmt: skip


def make_agent(size: Size) -> PlanningAgent:
    config = SPOWLConfig(model=TDMPCConfig(**size.model), batch_size=size.batch_size)
    return make_spowl(OBSERVATIONS, ACTIONS, config, adaptive(make_safe_improvement(**size.planner)))


def filled_buffer() -> buffers.Buffer:
    """10 environments of 1000 slots: small rewards, and a cost of 3 at one step in twenty."""
    rng = np.random.default_rng(0)
    empty = buffers.init(OBSERVATIONS, 2, 10, 1000)
    shape = (10, 1000)
    slots = empty.slots._replace(
        obs=jnp.asarray(rng.normal(size=(*shape, 60)), jnp.float32),
        action=jnp.asarray(rng.uniform(-1, 1, (*shape, 2)), jnp.float32),
        reward=jnp.asarray(0.05 * rng.normal(size=shape), jnp.float32),
        cost=jnp.asarray(3.0 * (rng.random(shape) < 0.05), jnp.float32),
    )
    return empty._replace(slots=slots, size=jnp.full(10, 1000, jnp.int32))


def calls(agent: PlanningAgent, size: Size) -> dict[str, tuple[Any, tuple[Any, ...], int]]:
    """What is timed: a jitted function, its arguments, and how many units of work one call does."""
    state = jax.jit(agent.init)(jax.random.key(0))
    act = jax.jit(functools.partial(agent.act, deterministic=False))
    update = jax.jit(agent.update)

    def decision(n_envs: int) -> tuple[Any, ...]:
        obs = jax.random.normal(jax.random.key(1), (n_envs, 60))
        return state.params, obs, agent.init_plan(n_envs), jnp.zeros(n_envs, bool), jax.random.key(2)

    return {
        "decision, 1 environment": (act, decision(1), 1),
        "decision, 10 environments": (act, decision(10), 1),
        "gradient step": (
            update,
            (state, filled_buffer(), np.int32(size.steps), np.float32(3e-4)),
            size.steps,
        ),
    }


class Timing(NamedTuple):
    """CPU-seconds, and the size of the program."""

    work: str
    trace: float
    compile: float
    call: float  # per unit of work
    lines: int  # of StableHLO
    flops: float  # of the matrix products of a unit of work: the floor


def timing(work: str, function: Any, arguments: tuple[Any, ...], units: int, rounds: int) -> Timing:
    start = time.process_time()
    lowered = function.lower(*arguments)
    traced = time.process_time()
    compiled = lowered.compile()
    end = time.process_time()
    seconds = cpu_seconds(lambda: compiled(*arguments), rounds) / units
    flops = product_flops(function, *arguments)  # a call's gradient steps are one loop, counted once
    return Timing(work, traced - start, end - traced, seconds, lowered.as_text().count("\n"), flops)


def timings(name: str) -> list[Timing]:
    size = SIZES[name]
    return [timing(work, *call, size.rounds) for work, call in calls(make_agent(size), size).items()]


def in_checkout(root: pathlib.Path, name: str) -> list[Timing]:
    """Time the code of a checkout in another process."""
    paths = [root, root / "wrappers", root / "integrations"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    command = [sys.executable, __file__, name, "--json"]
    run = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return [Timing(*row) for row in json.loads(run.stdout)]


def compare(names: list[str], other: pathlib.Path, rounds: int) -> None:
    """Both checkouts in turn; medians, and what this one takes of the other."""
    print("| size | work | | other | this | ratio |\n|---|---|---|---|---|---|")
    roots = (other.resolve(), pathlib.Path(__file__).resolve().parents[1])
    for name in names:
        runs = [[in_checkout(root, name) for root in roots] for _ in range(rounds)]
        for i, work in enumerate(timing.work for timing in runs[0][1]):
            for what, value in (
                ("lines of StableHLO", lambda t: float(t.lines)),
                ("tracing and compiling, CPU-s", lambda t: t.trace + t.compile),
                ("a call, CPU-ms", lambda t: 1000 * t.call),
            ):
                theirs, ours = (float(np.median([value(pair[k][i]) for pair in runs])) for k in (0, 1))
                print(
                    f"| {name} | {work} | {what} | {theirs:.1f} | {ours:.1f} | {ours / theirs:.2f} |",
                    flush=True,
                )


def show(names: list[str]) -> None:
    speed = matmul_flops()
    print(f"matrix product: {speed / 1e9:.0f} GFLOP per CPU-second\n")
    print(
        "| size | work | trace, CPU-s | compile, CPU-s | a call, CPU-ms | floor, CPU-ms | official | ratio |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name in names:
        size = SIZES[name]
        for work, trace, compilation, seconds, _, flops in timings(name):
            official = size.official.get(work)
            ratio = "" if official is None else f"{official / seconds:.1f}"
            theirs = "" if official is None else f"{1000 * official:.0f}"
            ours = f"{trace:.1f} | {compilation:.1f} | {1000 * seconds:.1f} | {1000 * flops / speed:.1f}"
            print(f"| {name} | {work} | {ours} | {theirs} | {ratio} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sizes", nargs="+", choices=SIZES)
    parser.add_argument(
        "--against", type=pathlib.Path, help="another checkout, to time in turn with this one"
    )
    parser.add_argument("--rounds", type=int, default=3, help="of --against")
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    jax.config.update("jax_enable_compilation_cache", False)
    if args.json:
        print(json.dumps([timing for name in args.sizes for timing in timings(name)]))
    elif args.against:
        compare(args.sizes, args.against, args.rounds)
    else:
        show(args.sizes)


if __name__ == "__main__":
    main()
