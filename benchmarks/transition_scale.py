"""Deviations of the latent or of the action, on the confounding grid: what the certified latent model can represent.

python benchmarks/transition_scale.py --out docs/results/transition_scale.json
python benchmarks/transition_scale.py --table docs/results/transition_scale.json
"""

import argparse
import json
import pathlib
import sys
from typing import Any

import numpy as np
from grid_updates import train
from inside_the_clip import CENTER, N_UPDATES, SEEDS, interval, setting

from spi_plugins.certificates import finite
from spi_plugins.certificates.enumerated import NetworkTables
from spi_plugins.envs.confounding_grid import make_confounding_grid
from spi_plugins.envs.confounding_grid_exact import exact_model, start_value
from spi_plugins.envs.confounding_grid_layout import grid_layout
from spi_plugins.world_models.deep_mdp_networks import DeepMDPConfig

N_PATH = 5
SCALES = ("latent", "action")
ALPHAS = (1.0, 10.0)  # weights of the model's losses, times those of inside_the_clip


def measure(tables: Any, found: NetworkTables) -> dict[str, list[float]]:
    """Numbers of each seed, after the last update."""
    assert found.transition is not None
    z, predicted = found.latent[:, -1], found.transition[:, -1]
    layout = grid_layout(N_PATH)
    wrong = finite.distance(predicted, np.broadcast_to(tables.transition, predicted.shape), None)
    stays = np.diagonal(tables.transition, axis1=0, axis2=2).T == 1
    alive = ~np.asarray(layout.terminal)[:, None]
    variance = z.var(axis=1).sum(axis=-1)
    return {
        "value": [start_value(tables, policy) for policy in found.policy[:, -1]],
        "variance": variance.tolist(),
        "staying": wrong[:, stays & alive].mean(axis=1).tolist(),
        "moving": wrong[:, ~stays & alive].mean(axis=1).tolist(),
    }


def table(results: dict[str, Any]) -> str:
    """The comparison: means over seeds, and the bootstrap's interval of paired differences."""
    rng = np.random.default_rng(0)
    rows = [
        "| α | deviations of | value (worst) | latents' variance | wrong where a state stays | where it moves |",
        "|---|---|---|---|---|---|",
    ]
    for name, scales in results.items():
        each = {scale: {k: np.array(v) for k, v in found.items()} for scale, found in scales.items()}
        for scale, found in each.items():
            rows.append(
                f"| {name} | {scale} | {found['value'].mean():.3f} ({found['value'].min():.2f}) | "
                f"{found['variance'].mean():.3f} | {found['staying'].mean():.3f} | {found['moving'].mean():.3f} |"
            )
        if len(each) == len(SCALES):
            gaps = {k: each["action"][k] - each["latent"][k] for k in each["action"]}
            shown = []
            for key in ("value", "variance", "staying", "moving"):
                low, high = interval(gaps[key], rng)
                shown.append(f"{gaps[key].mean():+.3f} [{low:+.3f}, {high:+.3f}]")
            rows.append(f"| {name} | difference | {' | '.join(shown)} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, help="JSON file to write; runs that it has are kept")
    parser.add_argument("--table", type=pathlib.Path, help="print the table of a JSON file instead")
    args = parser.parse_args()
    if args.table:
        sys.stdout.write(table(json.loads(args.table.read_text())) + "\n")
        return
    env = make_confounding_grid(N_PATH, size=None)
    tables = exact_model(env)
    results: dict[str, Any] = json.loads(args.out.read_text()) if args.out and args.out.exists() else {}
    for alpha in ALPHAS:
        for scale in SCALES:
            done = results.setdefault(f"{alpha:g}", {})
            if scale in done:
                continue
            chosen = setting("deep_spi", {**CENTER, "alpha": alpha})
            chosen = chosen._replace(model=DeepMDPConfig(transition_scale=scale))  # type: ignore[arg-type]
            done[scale] = measure(tables, train(env, chosen, SEEDS, N_UPDATES))
            if args.out:
                args.out.write_text(json.dumps(results) + "\n")
    sys.stdout.write(table(results) + "\n")


if __name__ == "__main__":
    main()
