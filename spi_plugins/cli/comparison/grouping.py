"""Runs in groups: a label and a task for each run, and what must be said about a comparison of them."""

import collections
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from spi_plugins.cli.arguments import CommandError
from spi_plugins.cli.comparison.runs import SCORES, Run, find_runs, read_run
from spi_plugins.cli.run_folder import RunConfig

# Fields of a run's configuration that make another task, and those that make another method.
_TASK_FIELDS = ("env_kwargs",)
_METHOD_FIELDS = ("policy", "n_envs", "hyperparameters", "wrappers", "normalize", "callbacks")
_UNSET = "default"


class Groups(NamedTuple):
    """Runs by label and task.

    Attributes:
        cells: the runs of each label on each task; a label may lack tasks.
        labels: in the order in which the runs were named.
        tasks: environments, with the arguments in which they differ.
        notes: what readers must know: runs that are unfinished, left out, or not comparable.
    """

    cells: Mapping[tuple[str, str], Sequence[Run]]
    labels: Sequence[str]
    tasks: Sequence[str]
    notes: Sequence[str]

    @property
    def runs(self) -> list[Run]:
        """All of them, by task and label."""
        return [run for task in self.tasks for run in self.on(task)]

    def on(self, task: str) -> list[Run]:
        """The runs of all labels on a task."""
        return [run for label in self.labels for run in self.at(label, task)]

    def at(self, label: str, task: str) -> Sequence[Run]:
        """The runs of a label on a task, maybe none."""
        return self.cells.get((label, task), ())

    @property
    def shared_tasks(self) -> list[str]:
        """The tasks that every label has runs of."""
        return [task for task in self.tasks if all(self.at(label, task) for label in self.labels)]


def load_groups(words: Sequence[str], keys: Sequence[str] = SCORES) -> Groups:
    """Find, read and group the runs that words name; ``keys`` are the columns of their logs to read.

    A run is labeled by the user's name or its algorithm. Where runs of one label on one task differ in settings other
    than the seed, the settings in which they differ become part of the label.

    Raises:
        CommandError: there is no run to read.
    """
    runs, notes = [], []
    for path, label in find_runs(words).items():
        try:
            runs.append(read_run(path, label, keys))
        except CommandError as error:
            notes.append(f"Left out: {error}")
    if not runs:
        raise CommandError(notes[0].removeprefix("Left out: "))
    return group(runs, notes)


def group(runs: Sequence[Run], notes: Sequence[str] = ()) -> Groups:
    """Group runs that are read already."""
    tasks = _distinguish(
        runs, [run.config.env for run in runs], lambda run: _fields(run.config, _TASK_FIELDS)
    )
    bases = [run.label or run.config.algorithm for run in runs]
    labels = [
        base if run.label else label
        for run, base, label in zip(
            runs,
            bases,
            _distinguish(runs, bases, lambda run: _fields(run.config, _METHOD_FIELDS), within=tasks),
            strict=True,
        )
    ]
    cells: dict[tuple[str, str], list[Run]] = collections.defaultdict(list)
    for run, label, task in zip(runs, labels, tasks, strict=True):
        cells[label, task].append(run)
    groups = Groups(dict(cells), list(dict.fromkeys(labels)), sorted(set(tasks)), ())
    return groups._replace(notes=[*notes, *_remarks(groups)])


def _fields(config: RunConfig, names: Iterable[str]) -> dict[str, str]:
    """Settings by name; those in a mapping are named by its keys."""
    flat: dict[str, str] = {}
    for name in names:
        value: Any = getattr(config, name)
        if isinstance(value, Mapping):
            flat |= {key: str(each) for key, each in value.items()}
        else:
            flat[name] = str(value)
    return flat


def _distinguish(
    runs: Sequence[Run],
    names: Sequence[str],
    settings: Callable[[Run], Mapping[str, str]],
    within: Sequence[str] | None = None,
) -> list[str]:
    """Names with the settings added in which runs of the same name (on the same task) differ."""
    found = [settings(run) for run in runs]
    cells: dict[tuple[str, str], list[Mapping[str, str]]] = collections.defaultdict(list)
    for name, task, fields in zip(names, within or names, found, strict=True):
        cells[name, task].append(fields)
    varying: dict[str, set[str]] = collections.defaultdict(set)
    for (name, _), members in cells.items():
        for key in set().union(*members):
            if len({fields.get(key, _UNSET) for fields in members}) > 1:
                varying[name].add(key)

    def full(name: str, fields: Mapping[str, str]) -> str:
        details = ", ".join(f"{key}={fields.get(key, _UNSET)}" for key in sorted(varying[name]))
        return f"{name} ({details})" if details else name

    return [full(name, fields) for name, fields in zip(names, found, strict=True)]


def _remarks(groups: Groups) -> list[str]:
    notes = []
    for (label, task), runs in groups.cells.items():
        seeds = collections.Counter(run.config.seed for run in runs)
        twice = [str(seed) for seed, count in seeds.items() if count > 1]
        if twice:
            notes.append(
                f"{label} on {task} has several runs of seed {', '.join(twice)}; they count as independent."
            )
    for task in groups.tasks:
        steps = {run.config.n_timesteps for run in groups.on(task)}
        if len(steps) > 1:
            notes.append(
                f"The runs on {task} have different lengths: {', '.join(f'{each:,}' for each in sorted(steps))} steps."
            )
    notes += [
        f"Unfinished: {run.path}, {run.taken:,} of {run.config.n_timesteps:,} steps; used as far as it is."
        for run in groups.runs
        if not run.finished
    ]
    return notes
