"""Deep SPI's thesis on the confounding grid: do the model losses belong inside the clip or next to it?

The protocol, written before the first run, is in docs/results/inside_the_clip.md.

python benchmarks/inside_the_clip.py --out docs/results/inside_the_clip.json
python benchmarks/inside_the_clip.py --table docs/results/inside_the_clip.json
"""

import argparse
import json
import pathlib
import sys
import time
from typing import Any

import numpy as np
from grid_updates import Setting, train

from spi_plugins.agents.deep_spi.config import DeepSPIConfig
from spi_plugins.certificates.enumerated import NetworkTables
from spi_plugins.certificates.tabular import ratios
from spi_plugins.envs.confounding_grid import make_confounding_grid
from spi_plugins.envs.confounding_grid_exact import exact_model, start_value

METHODS = {"ppo": "none", "deep_mdp": "additive", "deep_spi": "utility"}
CENTER = {"clip": 0.1, "alpha": 1.0, "epochs": 4, "rate": 1e-3}
CHANGES: list[dict[str, Any]] = [
    {}, {"clip": 0.05}, {"clip": 0.2}, {"clip": 0.4}, {"alpha": 0.1}, {"alpha": 10.0},
    {"epochs": 1}, {"epochs": 10}, {"rate": 3e-4}, {"rate": 3e-3}, {"clip": 0.4, "epochs": 10, "rate": 3e-3},
]  # fmt: skip
SEEDS = list(range(20))
N_UPDATES = 128
HARM = 0.01  # an update is harmful if it lowers the exact value by more
CONFIDENCE = 1 - 0.05 / len(CHANGES)


def setting(method: str, chosen: dict[str, Any]) -> Setting:
    config = DeepSPIConfig(
        auxiliary=METHODS[method],  # type: ignore[arg-type]
        n_epochs=chosen["epochs"],
        reward_loss_coef=0.1 * chosen["alpha"],
        transition_loss_coef=0.02 * chosen["alpha"],
    )
    return Setting(config, rate=chosen["rate"], clip=chosen["clip"])


def measure(tables: Any, found: NetworkTables) -> dict[str, list[float]]:
    """Numbers of each seed."""
    values = np.array([[start_value(tables, policy) for policy in seed] for seed in found.policy])
    drops = values[:, :-1] - values[:, 1:]
    largest = ratios(found.policy[:, :-1], found.policy[:, 1:]).largest
    above, below = tables.decisions
    distance = np.mean((found.latent[:, -1, above] - found.latent[:, -1, below]) ** 2, axis=-1)
    return {
        "value": values[:, -1].tolist(),
        "worst_drop": drops.max(axis=1).tolist(),
        "harmful": (drops > HARM).mean(axis=1).tolist(),
        "ratio": np.median(largest, axis=1).tolist(),
        "distance": distance.tolist(),
    }


def interval(difference: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Percentile bootstrap of the mean of paired seeds."""
    draws = difference[rng.integers(len(difference), size=(10_000, len(difference)))].mean(axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def table(results: dict[str, Any]) -> str:
    rng = np.random.default_rng(0)
    rows = [
        "| changed | PPO | DeepMDP | DeepSPI | DeepSPI - DeepMDP | worst drop (PPO, DeepMDP, DeepSPI) | "
        "harmful updates | largest ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, methods in results.items():
        if len(methods) < len(METHODS):
            continue
        each = {method: {key: np.array(x) for key, x in found.items()} for method, found in methods.items()}
        low, high = interval(each["deep_spi"]["value"] - each["deep_mdp"]["value"], rng)
        mean = (each["deep_spi"]["value"] - each["deep_mdp"]["value"]).mean()
        values = [
            f"{found['value'].mean():.2f} ({found['value'].min():.2f})"
            for found in (each[m] for m in METHODS)
        ]
        drops = ", ".join(f"{each[m]['worst_drop'].max():.2f}" for m in METHODS)
        harm = ", ".join(f"{100 * each[m]['harmful'].mean():.1f} %" for m in METHODS)
        largest = ", ".join(f"{np.median(each[m]['ratio']):.2f}" for m in METHODS)
        rows.append(
            f"| {name} | {' | '.join(values)} | {mean:+.3f} [{low:+.3f}, {high:+.3f}] | {drops} | {harm} | {largest} |"
        )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, help="JSON file to write; runs that it has are kept")
    parser.add_argument(
        "--runs", type=int, help="stop after so many settings of a method; the next call goes on"
    )
    parser.add_argument("--table", type=pathlib.Path, help="print the table of a JSON file instead")
    args = parser.parse_args()
    if args.table:
        sys.stdout.write(table(json.loads(args.table.read_text())) + "\n")
        return
    env = make_confounding_grid(5, size=None)
    tables = exact_model(env)
    results: dict[str, Any] = json.loads(args.out.read_text()) if args.out and args.out.exists() else {}
    for changed in CHANGES:
        name = ", ".join(f"{key} {value:g}" for key, value in changed.items()) or "center"
        for method in METHODS:
            if method in results.setdefault(name, {}):
                continue
            start = time.process_time()
            if method == "ppo" and "alpha" in changed:
                results[name][method] = results["center"][method]
            else:
                found = train(env, setting(method, {**CENTER, **changed}), SEEDS, N_UPDATES)
                results[name][method] = measure(tables, found)
            spent = time.process_time() - start
            mean = np.mean(results[name][method]["value"])
            sys.stdout.write(f"{name}: {method} {mean:.3f}, {spent:.0f} CPU-s\n")
            sys.stdout.flush()
            if args.out:
                args.out.write_text(json.dumps(results) + "\n")
            args.runs = args.runs and args.runs - 1
            if args.runs == 0:
                return


if __name__ == "__main__":
    main()
