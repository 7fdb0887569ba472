"""The runs of a list, and how far each of them is."""

import argparse
import contextlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from spi_plugins.cli.arguments import CommandError, parse_pairs, to_json
from spi_plugins.cli.comparison.runs import RETURN, read_run
from spi_plugins.cli.run_folder import RunConfig, RunFolder, locate_model
from spi_plugins.cli.train import read
from spi_plugins.cli.train_options import environment

State = Literal["finished", "resume", "start"]

# Options that a run is compared by if they are given; without them it has a default, or does not depend on them.
_IF_GIVEN = ("n_envs", "policy", "eval_freq", "eval_episodes", "n_eval_envs", "eval_cost_limit")


class Job(NamedTuple):
    """One run of a list.

    Attributes:
        words: what ``spi`` is told to start it.
        expected: what the configuration of a run must say to count as this job.
        details: what tells it from other jobs of the same algorithm, environment and seed.
    """

    words: Sequence[str]
    expected: Mapping[str, Any]
    details: str = ""

    @property
    def n_timesteps(self) -> int:
        """Environment steps."""
        return int(self.expected["n_timesteps"])

    def __str__(self) -> str:
        name = "{algorithm} on {env}, seed {seed}".format(**self.expected)
        return f"{name} ({self.details})" if self.details else name

    def is_run_by(self, config: RunConfig) -> bool:
        """Whether a run is this job."""
        return all(_plain(getattr(config, name)) == value for name, value in self.expected.items())


def make_job(words: Sequence[str], folder: pathlib.Path, details: str = "") -> Job:
    """The job of the words of a new run, which a folder will hold.

    Args:
        words: those after ``spi train``, with algorithm, environment and seed.
        folder: of the whole list.
        details: see ``Job``.

    Raises:
        SPIError: ``spi train`` would refuse the words.
    """
    words = ["train", *words, "-f", str(folder)]
    args = read(words)
    return Job(words, expected_of(args), details)


def expected_of(args: argparse.Namespace) -> dict[str, Any]:
    """What the configuration of the run that arguments of ``spi train`` start must say, as JSON has it."""
    device = {} if args.device is None else {"device": args.device}
    fields = {
        "algorithm": args.algo,
        **environment.recipe(args)._asdict(),
        "seed": args.seed or 0,
        "n_timesteps": args.n_timesteps,
        "hyperparameters": args.values | device,
        "callbacks": [(name, parse_pairs("--callback", rest)) for name, *rest in args.callback or ()],
    }
    given = {name: value for name in _IF_GIVEN if (value := getattr(args, name)) is not None}
    return {name: _plain(value) for name, value in {**fields, **given}.items()}


def _plain(value: Any) -> Any:
    """As JSON has it, so that values of words equal those of files."""
    return json.loads(to_json(value))


class Progress(NamedTuple):
    """How far a job is: its newest run, if any, and what remains."""

    job: Job
    run: pathlib.Path | None
    state: State
    remaining: int

    def command(self, *, trust_imports: bool = False) -> list[str]:
        """The words after ``spi`` that finish the job."""
        if self.state == "resume":
            return ["train", "--resume", str(self.run), *(["--trust-imports"] if trust_imports else [])]
        return [*self.job.words]


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
