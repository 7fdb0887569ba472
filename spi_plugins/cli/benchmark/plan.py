"""The runs of a benchmark, and how far each of them is."""

import contextlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from spi_plugins.cli.arguments import CommandError
from spi_plugins.cli.comparison.runs import RETURN, read_run
from spi_plugins.cli.run_folder import RunConfig, RunFolder, locate_model

State = Literal["finished", "resume", "start"]


class Job(NamedTuple):
    """One run of a benchmark.

    Attributes:
        algorithm: registered name.
        env: the environment's name.
        seed: of the run.
        n_timesteps: environment steps.
        words: what ``spi train`` is told besides these four.
        expected: what the configuration of a run must say, in addition, to count as this job.
    """

    algorithm: str
    env: str
    seed: int
    n_timesteps: int
    words: Sequence[str]
    expected: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.algorithm} on {self.env}, seed {self.seed}"

    def is_run_by(self, config: RunConfig) -> bool:
        """Whether a run is this job."""
        wanted = {
            "algorithm": self.algorithm,
            "env": self.env,
            "seed": self.seed,
            "n_timesteps": self.n_timesteps,
            **self.expected,
        }
        return all(_agrees(name, getattr(config, name), value) for name, value in wanted.items())


class Progress(NamedTuple):
    """How far a job is: its newest run, if any, and what remains."""

    job: Job
    run: pathlib.Path | None
    state: State
    remaining: int

    def command(self, folder: pathlib.Path, *, trust_imports: bool = False) -> list[str]:
        """The words after ``spi`` that finish the job."""
        job = self.job
        if self.state == "resume":
            return ["train", "--resume", str(self.run), *(["--trust-imports"] if trust_imports else [])]
        return [
            "train",
            job.algorithm,
            *("--env", job.env),
            *("-n", str(job.n_timesteps)),
            *("--seed", str(job.seed)),
            *job.words,
            *("-f", str(folder)),
        ]


def survey(jobs: Sequence[Job], folder: pathlib.Path) -> list[Progress]:
    """Look in a folder for the runs of jobs; of several runs of a job, the one that got furthest counts.

    A run that was killed before its first checkpoint cannot be resumed; its job starts anew.
    """
    configs = {}
    for file in sorted(folder.rglob("config.json")):
        with contextlib.suppress(CommandError):  # another file of that name
            configs[file.parent] = RunFolder(file.parent).read_config()
    plan = []
    for job in jobs:
        runs = [_progress(job, path) for path, config in configs.items() if job.is_run_by(config)]
        start = Progress(job, None, "start", job.n_timesteps)
        plan.append(min(runs, key=lambda progress: progress.remaining, default=start))
    return plan


def _progress(job: Job, path: pathlib.Path) -> Progress:
    folder = RunFolder(path)
    try:
        taken = read_run(path, keys=(RETURN,)).taken
        locate_model(path)
    except CommandError:
        return Progress(job, path, "start", job.n_timesteps)
    if taken >= job.n_timesteps and folder.model.is_file():
        missing = folder.awaits_evaluation(folder.read_config())
        return Progress(job, path, "resume" if missing else "finished", 0)
    return Progress(job, path, "resume", max(job.n_timesteps - taken, 1))


def _agrees(name: str, value: Any, wanted: Any) -> bool:
    """Equal; but a preset may add hyperparameters to those that are asked for."""
    if name == "hyperparameters":
        return all(key in value and value[key] == each for key, each in wanted.items())
    return bool(value == wanted)
