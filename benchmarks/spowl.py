"""CPU time of SPOWL's decisions and gradient steps, against the official code's figures and a matrix product's speed.

python benchmarks/spowl.py small 5m

The official figures (AIRI-Institute/SPOWL, commit 967e6cb) were taken on a shared two-core Xeon with AVX-512. On other
machines only the share of the floor is meaningful.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spi_plugins import buffers
from spi_plugins.agents.planning import PlanningAgent
from spi_plugins.agents.spowl.config import SPOWLConfig
from spi_plugins.agents.spowl.update import make_spowl
from spi_plugins.planners.decision import adaptive
from spi_plugins.planners.safe_improvement import make_safe_improvement
from spi_plugins.types import ActionSpec, ArraySpec
from spi_plugins.world_models.tdmpc import TDMPCConfig

OBSERVATIONS = ArraySpec(kind="box", shape=(60,), dtype="float32")  # Safety PointGoal's
ACTIONS = ActionSpec(kind="box", shape=(2,), low=(-1.0, -1.0), high=(1.0, 1.0))


class Size(NamedTuple):
    model: dict[str, Any]
    planner: dict[str, Any]
    batch_size: int
    rounds: int
    steps: int  # gradient steps in a call
    official: dict[str, float]  # CPU-seconds
    gflop: dict[str, float]  # of the default sizes, as XLA counts them: the floor


SIZES = {
    "small": Size(
        {"encoder_hidden": (64,), "latent_dim": 64, "hidden": (64, 64)},
        {"num_samples": 64, "num_prior": 8, "num_elites": 16, "iterations": 3},
        64, 20, 50, {"decision, 10 environments": 0.176, "gradient step": 0.041}, {},
    ),
    "5m": Size(
        {}, {}, 256, 3, 2,
        {"decision, 1 environment": 3.1, "decision, 10 environments": 40.0, "gradient step": 2.66},
        {"decision, 1 environment": 75.0, "decision, 10 environments": 750.0, "gradient step": 74.0},
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


def calls(agent: PlanningAgent, size: Size) -> dict[str, tuple[Callable[[], Any], int]]:
    """What is timed, and how many units of work one call does."""
    state = jax.jit(agent.init)(jax.random.key(0))
    act = jax.jit(agent.act, static_argnames="deterministic")
    update = jax.jit(agent.update)
    buffer = filled_buffer()

    def decide(n_envs: int) -> Callable[[], Any]:
        obs = jax.random.normal(jax.random.key(1), (n_envs, 60))
        plans, starts = agent.init_plan(n_envs), jnp.zeros(n_envs, bool)
        return lambda: act(state.params, obs, plans, starts, jax.random.key(2), deterministic=False)

    return {
        "decision, 1 environment": (decide(1), 1),
        "decision, 10 environments": (decide(10), 1),
        "gradient step": (lambda: update(state, buffer, np.int32(size.steps), np.float32(3e-4)), size.steps),
    }


def cpu_seconds(call: Callable[[], Any], rounds: int) -> float:
    """Median CPU time of a call, without compilation."""
    jax.block_until_ready(call())
    times = []
    for _ in range(rounds):
        start = time.process_time()
        jax.block_until_ready(call())
        times.append(time.process_time() - start)
    return float(np.median(times))


def matmul_gflops() -> float:
    """GFLOP per CPU-second of a float32 product of 512 by 512 matrices."""
    product = jax.jit(lambda a: a @ a)
    matrix = jnp.ones((512, 512))
    return 2 * 512**3 / cpu_seconds(lambda: product(matrix), 50) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sizes", nargs="+", choices=SIZES)
    args = parser.parse_args()
    speed = matmul_gflops()
    print(f"matrix product: {speed:.0f} GFLOP per CPU-second\n")
    print("| size | work | CPU-ms | official | ratio | share of the floor |\n|---|---|---|---|---|---|")
    for name in args.sizes:
        size = SIZES[name]
        for work, (call, times) in calls(make_agent(size), size).items():
            seconds = cpu_seconds(call, size.rounds) / times
            official = size.official.get(work)
            ratio = "" if official is None else f"{official / seconds:.1f}"
            share = f"{size.gflop[work] / speed / seconds:.2f}" if work in size.gflop else ""
            theirs = "" if official is None else f"{1000 * official:.0f}"
            print(f"| {name} | {work} | {1000 * seconds:.1f} | {theirs} | {ratio} | {share} |", flush=True)


if __name__ == "__main__":
    main()
