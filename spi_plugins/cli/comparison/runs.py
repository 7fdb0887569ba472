"""Finds the folders of runs, and reads what is compared: settings, curves, and the evaluation at the end."""

import contextlib
import csv
import glob
import json
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from spi_plugins.cli.arguments import CommandError
from spi_plugins.cli.progress_rows import STEPS
from spi_plugins.cli.run_folder import RunConfig, RunFolder
from spi_plugins.statistics.aggregates import Array

RETURN = "rollout/ep_rew_mean"
COST = "rollout/ep_cost_mean"
COST_RATE = "rollout/cost_rate"
SCORES = (RETURN, COST, COST_RATE)


class Curve(NamedTuple):
    """A column of ``progress.csv`` over environment steps."""

    steps: Array
    values: Array


class Run(NamedTuple):
    """What a run's folder says.

    Attributes:
        path: the folder.
        label: the name that the user gave to its group, if any.
        config: its settings.
        curves: the columns of its log that were asked for and hold numbers, by name.
        evaluation: ``evaluation.json``, or ``None`` if there is none.
        commands: the commands that started and continued it.
    """

    path: pathlib.Path
    label: str | None
    config: RunConfig
    curves: Mapping[str, Curve]
    evaluation: Mapping[str, Any] | None
    commands: Sequence[str]

    @property
    def taken(self) -> int:
        """Environment steps so far."""
        return int(max((curve.steps[-1] for curve in self.curves.values()), default=0))

    @property
    def finished(self) -> bool:
        """Whether the run took all of its steps."""
        return self.taken >= self.config.n_timesteps


def find_runs(words: Sequence[str]) -> dict[pathlib.Path, str | None]:
    """The folders of runs that words name, in order, each with its label.

    A word is a run's folder, a folder with runs at any depth, or a pattern such as ``runs/ppo/*``; ``NAME=`` before it
    labels the runs.

    Raises:
        CommandError: a word stands for nothing.
    """
    found: dict[pathlib.Path, str | None] = {}
    for word in words:
        label, places = _places(word)
        runs = [run for place in places for run in _runs_below(place)]
        if not runs:
            raise CommandError(f"There is no run in {word}: no folder in it has a config.json.")
        found.update(dict.fromkeys(runs, label))
    return found


def _places(word: str) -> tuple[str | None, list[pathlib.Path]]:
    """The label and the existing paths of a word."""
    name, equals, rest = word.partition("=")
    for label, pattern in ((None, word), (name, rest)) if equals and name else ((None, word),):
        matches = [pattern] if pathlib.Path(pattern).exists() else sorted(glob.glob(pattern))
        if matches:
            return label, [pathlib.Path(match) for match in matches]
    raise CommandError(f"There is nothing at {word}.")


def _runs_below(place: pathlib.Path) -> list[pathlib.Path]:
    if not place.is_dir():
        return []
    if RunFolder(place).config.is_file():
        return [place]
    return sorted(config.parent for config in place.rglob("config.json"))


def read_run(path: pathlib.Path, label: str | None = None, keys: Sequence[str] = SCORES) -> Run:
    """Read the folder of a run, finished or not, and of its log the columns ``keys``.

    Raises:
        CommandError: its configuration or its log is missing or damaged.
    """
    folder = RunFolder(path)
    config = folder.read_config()
    if not folder.progress.is_file():
        raise CommandError(f"{path} has no progress.csv: it ended before its first iteration.")
    curves = _read_curves(folder.progress, keys)
    if not curves:
        raise CommandError(f"{folder.progress} has no rows with {STEPS}.")
    command = path / "command.txt"
    commands = command.read_text("utf-8").splitlines() if command.is_file() else []
    return Run(path, label, config, curves, _read_evaluation(folder.evaluation), commands)


def _read_curves(progress: pathlib.Path, keys: Sequence[str]) -> dict[str, Curve]:
    """Columns of numbers; cells that are empty, text or not finite are left out."""
    with progress.open(newline="") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        if STEPS not in header:
            return {}
        at_steps = header.index(STEPS)
        columns = {key: header.index(key) for key in dict.fromkeys([STEPS, *keys]) if key in header}
        points: dict[str, list[tuple[float, float]]] = {key: [] for key in columns}
        for row in rows:
            if len(row) <= at_steps or (step := _number(row[at_steps])) is None:
                continue
            for key, at in columns.items():
                if at < len(row) and (value := _number(row[at])) is not None:
                    points[key].append((step, value))
    return {key: Curve(*np.array(pairs).T) for key, pairs in points.items() if pairs}


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def column_names(paths: Iterable[pathlib.Path]) -> list[str]:
    """The columns in the logs of runs."""
    names: set[str] = set()
    for path in paths:
        with contextlib.suppress(OSError), RunFolder(path).progress.open(newline="") as file:
            names |= set(next(csv.reader(file), []))
    return sorted(names)


def _read_evaluation(path: pathlib.Path) -> Mapping[str, Any] | None:
    if not path.is_file():
        return None
    try:
        result = json.loads(path.read_text("utf-8"))
        float(result["mean_return"])
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise CommandError(f"{path} is not the evaluation of a run: {error!r}") from error
    return dict(result)
