"""What the benchmarks of the papers consist of."""

import itertools
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from spi_plugins.cli.arguments import CommandError
from spi_plugins.cli.jobs.plan import Job, make_job
from spi_plugins.plugins import did_you_mean
from spi_plugins.statistics.atari import ATARI_SCORES


class Protocol(NamedTuple):
    """A benchmark.

    Attributes:
        title: of its report.
        about: a sentence for its help.
        tasks: names that a user may choose, and their environments.
        algorithms: those that are compared unless the user chooses.
        n_timesteps: steps of the environment in a run.
        repeats: how many of them an action lasts, for the algorithms that repeat actions.
        n_seeds: runs of an algorithm on a task.
        words: what ``spi train`` is told.
        cost_limit: what an episode may cost, in the table and the pictures.
    """

    title: str
    about: str
    tasks: Mapping[str, str]
    algorithms: Sequence[str]
    n_timesteps: int
    repeats: Mapping[str, int]
    n_seeds: int
    words: Sequence[str]
    cost_limit: float | None = None


#: Deep SPI's: actions stick with probability 0.3, up to 60 no-ops at the start, 128 copies, 10 million agent steps
#: (40 million frames). As in the paper's code, scores are those of training: there is no separate evaluation.
ATARI = Protocol(
    title="Atari, stochastic, as in Deep SPI",
    about="Atari games in which actions stick with probability 0.3 and episodes begin with up to 60 no-ops; 128 "
    "copies, 10 million steps (40 million frames). Scores are human-normalized training returns.",
    tasks={game: f"envpool:{game}-v5" for game in ATARI_SCORES},
    algorithms=("deep_spi", "deep_mdp", "ppo"),
    n_timesteps=10_000_000,
    repeats={},
    n_seeds=3,
    words=("--env-kwargs", "stochastic=True", "--n-envs", "128", "--eval-episodes", "0"),
)

#: SPOWL's Table 1: 5 million steps, ten copies, ten episodes of evaluation; an action of the world-model agents lasts
#: five steps. Other settings are the presets'.
SAFETY = Protocol(
    title="Safety-gymnasium, as in SPOWL's Table 1",
    about="Seven tasks; ten copies, 5 million steps of the environment, five of which an action of spowl and tdmpc2 "
    "lasts; ten episodes of evaluation, and the rate of costs in training.",
    tasks={
        task: f"spi/Safety{task}-v0"
        for task in (
            "PointGoal1",
            "PointGoal2",
            "PointPush1",
            "PointButton1",
            "CarGoal1",
            "DoggoGoal1",
            "AntGoal1",
        )
    },
    algorithms=("spowl", "tdmpc2", "ppo_lag"),
    n_timesteps=5_000_000,
    repeats={"spowl": 5, "tdmpc2": 5},
    n_seeds=3,
    words=("--n-envs", "10", "--eval-episodes", "10", "--eval-cost-limit", "25"),
    cost_limit=25.0,
)


def choose_tasks(option: str, protocol: Protocol, names: Sequence[str]) -> list[str]:
    """The tasks that a user names, in the protocol's order; ``all`` for all.

    Raises:
        CommandError: there is no such task.
    """
    for name in names:
        if name != "all" and name not in protocol.tasks:
            hint = did_you_mean(name, protocol.tasks)
            some = ", ".join(list(protocol.tasks)[:7])
            allowed = (
                some
                if len(protocol.tasks) <= 7
                else f"the {len(protocol.tasks)} names of EnvPool such as {some}"
            )
            raise CommandError(f"{option} {name}: not of this benchmark.{hint} Allowed: all, {allowed}.")
    return [task for task in protocol.tasks if task in names or "all" in names]


def make_jobs(
    protocol: Protocol,
    tasks: Sequence[str],
    folder: pathlib.Path,
    *,
    algorithms: Sequence[str],
    seeds: Sequence[int],
    n_timesteps: int,
    hyperparameters: Sequence[str] = (),
) -> list[Job]:
    """A job for each task, algorithm and seed, task by task.

    Args:
        protocol: the benchmark.
        tasks: of the protocol.
        folder: of the runs.
        algorithms: registered names.
        seeds: of each algorithm on each task.
        n_timesteps: steps of the environment in a run.
        hyperparameters: ``key=value`` words for all algorithms.

    Raises:
        SPIError: an algorithm is unknown, or a hyperparameter does not fit one.
    """
    jobs = []
    for task, algorithm, seed in itertools.product(tasks, algorithms, seeds):
        repeat = protocol.repeats.get(algorithm, 1)
        words = [algorithm, "--env", protocol.tasks[task], "-n", str(max(n_timesteps // repeat, 1))]
        words += ["--seed", str(seed), *protocol.words]
        if repeat > 1:
            words += ["--wrapper", "action_repeat", f"repeat={repeat}"]
        if hyperparameters:
            words += ["-p", *hyperparameters]
        jobs.append(make_job(words, folder))
    return jobs
