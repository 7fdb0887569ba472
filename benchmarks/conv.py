"""NatureCNN, forward and backward on minibatches of 256 frames inside ``lax.scan``, against torch.

Run ``python benchmarks/conv.py``. Every row is the median over rounds in which the contestants take turns; CPU time is
that of the process. GFLOP count the convolutions and dense layers, the same for every contestant.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import lax

from spi_plugins.networks.conv import conv2d

BATCH = 256
LAYERS = ((8, 4, 4, 32), (4, 2, 32, 64), (3, 1, 64, 64))  # window, stride, channels in, channels out
WIDTHS = (84, 20, 9, 7)


def gflop() -> float:
    """A multiply-add counts as two. Frames have no gradient."""
    convs = [2 * BATCH * WIDTHS[n + 1] ** 2 * k * k * c * o for n, (k, _, c, o) in enumerate(LAYERS)]
    dense = 2 * BATCH * (3136 * 512 + 512 * 5)
    return (2 * convs[0] + 3 * (convs[1] + convs[2] + dense)) / 1e9


def plain(x, kernel, *, stride):
    dims = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x.astype(kernel.dtype), kernel, (stride, stride), "VALID", dimension_numbers=dims
    )


def make_jax(convolution, frames: np.ndarray) -> Callable[[], None]:
    keys = iter(jax.random.split(jax.random.key(0), 9))
    params = {}
    for n, (k, _, c, o) in enumerate(LAYERS):
        params[f"conv{n}"] = jax.random.normal(next(keys), (k, k, c, o)) * (k * k * c) ** -0.5
        params[f"bias{n}"] = jnp.zeros(o)
    params["dense"] = jax.random.normal(next(keys), (3136, 512)) * 3136**-0.5
    params["head"] = jax.random.normal(next(keys), (512, 5)) * 512**-0.5

    def loss(params, images):
        x = images.transpose(0, 2, 3, 1)
        for n, (_, stride, _, _) in enumerate(LAYERS):
            kernel = params[f"conv{n}"] / 255 if n == 0 else params[f"conv{n}"]
            x = jax.nn.relu(convolution(x, kernel, stride=stride) + params[f"bias{n}"][None, None, None])
        x = jax.nn.relu(x.reshape(len(x), -1) @ params["dense"])
        return jnp.mean(jnp.square(x @ params["head"] - 1.0))

    @jax.jit
    def run(params, frames):
        def body(params, images):
            grads = jax.grad(loss)(params, images)
            return jax.tree.map(lambda p, g: p - 1e-3 * g, params, grads), None

        return lax.scan(body, params, frames)[0]

    frames = jnp.asarray(frames)
    return lambda: jax.block_until_ready(run(params, frames))


def make_torch(frames: np.ndarray) -> Callable[[], None]:
    convs = [torch.nn.Conv2d(c, o, k, s) for k, s, c, o in LAYERS]
    layers = [layer for conv in convs for layer in (conv, torch.nn.ReLU())]
    dense = [torch.nn.Linear(3136, 512), torch.nn.ReLU(), torch.nn.Linear(512, 5)]
    net = torch.nn.Sequential(*layers, torch.nn.Flatten(), *dense).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), 1e-3)
    data = torch.from_numpy(frames)

    def run() -> None:
        for images in data:
            x = images.float().div_(255).contiguous(memory_format=torch.channels_last)
            optimizer.zero_grad()
            (net(x) - 1.0).square().mean().backward()
            optimizer.step()

    return run


def machine() -> str:
    info = Path("/proc/cpuinfo")
    names = [
        line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
    ]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


def medians(rounds: list[tuple[float, float]]) -> tuple[float, float]:
    cpu, wall = zip(*rounds, strict=True)
    return statistics.median(cpu), statistics.median(wall)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=16, help="minibatches in the scan")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--plain", action="store_true", help="also JAX's own gradients (slow)")
    args = parser.parse_args()
    frames = np.random.default_rng(0).integers(0, 256, (args.steps, BATCH, 4, 84, 84), dtype=np.uint8)
    run_torch = make_torch(frames)

    def torch_with(threads: int) -> Callable[[], None]:
        def run() -> None:
            torch.set_num_threads(threads)
            run_torch()

        return run

    runs = {
        "conv2d": make_jax(conv2d, frames),
        "torch, 1 thread": torch_with(1),
        "torch, 2 threads": torch_with(2),
    }
    if args.plain:
        runs["lax, plain"] = make_jax(plain, frames)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(args.rounds):
        for name, run in runs.items():
            cpu, wall = time.process_time(), time.perf_counter()
            run()
            times[name].append((time.process_time() - cpu, time.perf_counter() - wall))

    print(f"{machine()}; jax {jax.__version__}, torch {torch.__version__}; load {os.getloadavg()[0]:.1f}")
    print(
        f"{gflop():.1f} GFLOP per minibatch of {BATCH}; ratios: time of torch with 2 threads over the row's"
    )
    columns = ("CPU ms", "wall ms", "GFLOP/CPU-s", "GFLOP/s", "CPU ratio", "wall ratio")
    print(" " * 20 + "".join(f"{name:>12s}" for name in columns))
    base_cpu, base_wall = medians(times["torch, 2 threads"])
    for name, rounds in times.items():
        cpu, wall = medians(rounds)
        work = gflop() * args.steps
        each = (1e3 * cpu / args.steps, 1e3 * wall / args.steps, work / cpu, work / wall)
        print(f"{name:20s}" + "".join(f"{n:12.2f}" for n in (*each, base_cpu / cpu, base_wall / wall)))


if __name__ == "__main__":
    main()
