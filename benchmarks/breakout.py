"""Breakout by Deep SPI's stochastic protocol: three methods and the other density of the latent, three seeds each.

Actions stick with probability 0.3, episodes begin with up to 60 no-ops; 128 copies, a learning rate annealed to 0.

python benchmarks/breakout.py runs --at-once 12       # train what is missing, here twelve at once (a GPU, 16 cores)
python benchmarks/breakout.py runs --out docs/results # collect what there is into breakout.json and breakout.png
python benchmarks/breakout.py --random                # 100 games of uniformly random actions
"""

import argparse
import csv
import json
import pathlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

SEEDS = (0, 1, 2)
METHODS = {
    "DeepSPI": ("deep_spi", None),
    "DeepSPI, deviations of the action": ("deep_spi", {"transition_scale": "action"}),
    "DeepMDP": ("deep_mdp", None),
    "PPO": ("ppo", None),
}
EVERY = 10_000  # steps between the points of a curve


def folder(runs: pathlib.Path, method: str, seed: int) -> pathlib.Path:
    return runs / method.replace(", ", "-").replace(" ", "_") / str(seed)


def train(runs: pathlib.Path, method: str, seed: int, n_timesteps: int) -> int:
    """Train a seed unless it is there, as ``spi train`` does."""
    algorithm, model = METHODS[method]
    into = folder(runs, method, seed)
    if list(into.glob("*/*/evaluation.json")):
        return 0
    words = ["--env", "envpool:Breakout-v5", "--env-kwargs", "stochastic=True", "--n-envs", "128"]
    words += ["-n", str(n_timesteps), "--seed", str(seed), "--eval-episodes", "100", "-f", str(into)]
    if model is not None:
        words += ["-p", f"world_model_kwargs={model}"]
    into.mkdir(parents=True, exist_ok=True)
    with (into / "log.txt").open("w") as log:
        command = [sys.executable, "-m", "spi_plugins.cli", "train", algorithm, *words]
        return subprocess.run(command, stdout=log, stderr=log).returncode


def collect(runs: pathlib.Path, method: str, seed: int) -> dict[str, Any] | None:
    """The curve of a seed (mean whole, unclipped return of the last 100 games), and the games of its evaluation."""
    found = next(iter(folder(runs, method, seed).glob("*/*/progress.csv")), None)
    if found is None:
        return None
    with found.open() as file:
        rows = [row for row in csv.DictReader(file) if row["rollout/ep_rew_mean"]]
    curve: list[tuple[int, float]] = []
    for row in rows:
        steps = int(row["time/total_timesteps"])
        if row is rows[-1] or not curve or steps >= curve[-1][0] + EVERY:
            curve.append((steps, round(float(row["rollout/ep_rew_mean"]), 3)))
    games = found.parent / "evaluation.json"
    return {"curve": curve, "games": json.loads(games.read_text())["returns"] if games.is_file() else None}


def interval(games: list[float]) -> tuple[float, float]:
    """95 % percentile bootstrap of the mean of games."""
    rng, values = np.random.default_rng(0), np.array(games)
    means = values[rng.integers(len(values), size=(10_000, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def table(results: dict[str, dict[str, Any]]) -> str:
    rows = [
        "| method | seed | steps | last 100 games at 100 k | at 200 k | at the end | 100 games of evaluation |",
        "|---|---|---|---|---|---|---|",
    ]
    for method, seeds in results.items():
        for seed, run in seeds.items():
            curve, games = run["curve"], run["games"]
            at = [
                [value for steps, value in curve if steps <= until][-1] if curve[-1][0] >= until else None
                for until in (100_000, 200_000)
            ]
            cells = ["" if value is None else f"{value:.2f}" for value in (*at, curve[-1][1])]
            evaluated = "not finished"
            if games:
                low, high = interval(games)
                evaluated = f"{np.mean(games):.2f} [{low:.2f}, {high:.2f}]"
            rows.append(f"| {method} | {seed} | {curve[-1][0]:,} | {' | '.join(cells)} | {evaluated} |")
    return "\n".join(rows)


def plot(results: dict[str, dict[str, Any]], path: pathlib.Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for color, (method, seeds) in enumerate(results.items()):
        for number, run in enumerate(seeds.values()):
            steps, values = zip(*run["curve"], strict=True)
            axes.plot(steps, values, color=f"C{color}", label=None if number else method, lw=1.2)
    axes.set(xlabel="environment steps", ylabel="return of the last 100 games (whole, unclipped)")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


def random_games(n: int) -> list[float]:
    """Returns of whole games of uniformly random actions."""
    from spi_integrations.envpool import make_vec

    env: Any = make_vec("Breakout-v5", 16, stochastic=True, seed=0)
    rng = np.random.default_rng(0)
    returns: list[float] = []
    env.reset()
    while len(returns) < n:
        infos = env.step(rng.integers(env.action_space.n, size=16))[3]
        returns += [info["episode"]["r"] for info in infos if "episode" in info]
    env.close()
    return [float(value) for value in returns[:n]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=pathlib.Path, nargs="?", default=pathlib.Path("runs/breakout"))
    parser.add_argument("--at-once", type=int, default=1, help="runs at the same time (default: 1)")
    parser.add_argument("-n", "--n-timesteps", type=int, default=300_000)
    parser.add_argument("--out", type=pathlib.Path, help="only collect, into this folder")
    parser.add_argument("--random", action="store_true", help="only play at random")
    args = parser.parse_args()
    if args.random:
        games = random_games(100)
        print(f"random: {np.mean(games):.2f} {interval(games)}")
        return
    if args.out is None:
        jobs = [(method, seed) for seed in SEEDS for method in METHODS]
        with ThreadPoolExecutor(args.at_once) as pool:
            codes = list(pool.map(lambda job: train(args.runs, job[0], job[1], args.n_timesteps), jobs))
        print({f"{method} {seed}": code for (method, seed), code in zip(jobs, codes, strict=True) if code})
    found = {method: {seed: collect(args.runs, method, seed) for seed in SEEDS} for method in METHODS}
    results = {
        method: {str(seed): run for seed, run in seeds.items() if run} for method, seeds in found.items()
    }
    print(table(results))
    if args.out is not None:
        text = json.dumps(results).replace('}, "', '},\n"')
        (args.out / "breakout.json").write_text(text + "\n")
        plot(results, args.out / "breakout.png")


if __name__ == "__main__":
    main()
