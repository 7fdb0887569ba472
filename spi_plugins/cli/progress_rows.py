"""Reads ``progress.csv``. Imports neither Stable-Baselines3 nor torch, so that runs are compared quickly."""

import csv
import pathlib

STEPS = "time/total_timesteps"


def read_progress(path: pathlib.Path) -> list[dict[str, str]]:
    """The rows of a progress file, oldest first, without empty cells; empty if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [{key: value for key, value in row.items() if key and value} for row in csv.DictReader(file)]
