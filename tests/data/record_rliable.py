"""Write ``tests/data/rliable.json``: scores, and what rliable 1.2.0 makes of them.

rliable needs packages older than ours, so it runs in an environment of its own::

    python -m venv rliable-env
    rliable-env/bin/pip install rliable==1.2.0 "arch<8" "pandas<3"
    rliable-env/bin/python tests/data/record_rliable.py tests/data/rliable.json
"""

import importlib.metadata
import json
import pathlib
import platform
import sys

import numpy as np
from rliable import library, metrics

RESAMPLES = 400
THRESHOLDS = [0.0, 0.25, 0.5, 1.0, 2.0]
PACKAGES = ("rliable", "arch", "numpy", "scipy", "pandas")


def aggregates(scores):
    return np.array(
        [
            metrics.aggregate_mean(scores),
            metrics.aggregate_median(scores),
            metrics.aggregate_iqm(scores),
            metrics.aggregate_optimality_gap(scores),
        ]
    )


def profile(scores):
    return library.score_distributions(scores, np.array(THRESHOLDS))


def improvement(scores, others):
    return np.array([metrics.probability_of_improvement(scores, others)])


def estimates(statistic, scores):
    """Point estimates and intervals; rliable draws from NumPy's global generator."""
    np.random.seed(0)  # noqa: NPY002
    values, intervals = library.get_interval_estimates({"x": scores}, statistic, reps=RESAMPLES)
    return {"values": values["x"].tolist(), "intervals": intervals["x"].tolist()}


def main(path):
    rng = np.random.default_rng(0)
    # Runs times tasks; rounded, so that runs tie.
    a = rng.gamma(1.0, 0.8, (5, 6)).round(1)
    b = rng.gamma(1.5, 0.8, (4, 6)).round(1)
    recorded = {
        "origin": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
        "resamples": RESAMPLES,
        "thresholds": THRESHOLDS,
        "a": a.tolist(),
        "b": b.tolist(),
        "aggregates": estimates(aggregates, a),
        "profile": estimates(profile, a),
        "improvement": estimates(improvement, [a, b]),
    }
    pathlib.Path(path).write_text(json.dumps(recorded, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
