"""Bounds against the truth on random processes, as γ, C and the model's error vary.

python benchmarks/bounds.py --out docs/results/bounds.png
"""

import argparse
import pathlib
import sys
from typing import Any, NamedTuple

import numpy as np
from learning import subplots, write

from spi_plugins.certificates import finite, tabular
from spi_plugins.certificates.random_problems import Problems, random_problems

N = 1000
BASE = {"gamma": 0.9, "constant": 1.05, "noise": 1e-3}
SWEEPS: dict[str, tuple[float, ...]] = {
    "gamma": (0.5, 0.7, 0.8, 0.9, 0.95),
    "constant": (1.01, 1.02, 1.05, 1.1),
    "noise": (0.0, 1e-4, 1e-3, 1e-2, 0.1),
}
LABELS = {"gamma": "discount γ", "constant": "C", "noise": "model error (share of unknown dynamics)"}
STEPS = {"gap": "truth", "visits": "ours", "length": "C AEL F, V̄ known", "theorem": "theorem"}


class Point(NamedTuple):
    """Median loss of each step relative to the range of values, and shares of the problems."""

    losses: dict[str, float]
    improved: float  # truly
    ours: float  # certified as improved
    theorem: float
    violated: int


def measure(found: Problems) -> Point:
    new = finite.composed(found.pair.new, found.abstraction.encoder)
    truth = finite.value(found.mdp, new) - finite.value(found.mdp, found.pair.old)
    losses, bounds = tabular.ladder(*found), tabular.improvement(*found)
    scale = value_ranges(found)
    return Point(
        {name: float(np.median(getattr(losses, name) / scale)) for name in STEPS},
        float((truth > 0).mean()),
        float((bounds.visits > 0).mean()),
        float((bounds.theorem > 0).mean()),
        int(sum((bound > truth + 1e-9).sum() for bound in bounds)),
    )


def value_ranges(found: Problems) -> np.ndarray:
    """Best minus worst return of each problem."""
    best = worst = np.zeros(found.mdp.reward.shape[:2])
    for _ in range(400):
        best, worst = (
            pick(
                found.mdp.reward + found.mdp.gamma * np.einsum("nsax,nx->nsa", found.mdp.transition, v),
                axis=-1,
            )
            for pick, v in ((np.max, best), (np.min, worst))
        )
    ranges: np.ndarray = (found.mdp.start * (best - worst)).sum(axis=-1)
    return ranges


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, help="picture to write")
    args = parser.parse_args()
    say = sys.stdout.write
    say(
        "| varied | truth | ours | C AEL F | theorem | improved | certified: ours | theorem | violated |\n"
        + "|---" * 9
        + "|\n"
    )
    figure, panels = subplots(1, 3, figsize=(11, 3.6), sharey=True)
    for axes, (name, values) in zip(panels, SWEEPS.items(), strict=True):
        points = []
        for value in values:
            options: dict[str, Any] = {**BASE, name: value}
            point = measure(random_problems(np.random.default_rng(0), N, **options))
            points.append(point)
            losses = " | ".join(f"{loss:.2g}" for loss in point.losses.values())
            say(
                f"| {LABELS[name].partition(' (')[0]} = {value:g} | {losses} | {100 * point.improved:.0f} % | "
                f"{100 * point.ours:.0f} % | {100 * point.theorem:.0f} % | {point.violated} |\n"
            )
        for step, label in STEPS.items():
            axes.plot(values, [max(p.losses[step], 1e-6) for p in points], marker="o", label=label)
        axes.axhline(1.0, color="grey", linestyle="--", linewidth=1)
        axes.set(xlabel=LABELS[name], yscale="log")
        if name == "noise":
            axes.set_xscale("symlog", linthresh=1e-4)
            axes.set_xlim(left=-2e-5)
            axes.legend(loc="lower right")
    panels[0].set(ylabel="loss / range of values (median)")
    if args.out:
        write(figure, args.out)


if __name__ == "__main__":
    main()
