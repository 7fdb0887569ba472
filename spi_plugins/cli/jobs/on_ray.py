"""Runs on a Ray cluster, one task each: Ray places them, starts them again when a worker dies, and cancels them."""

import argparse
import contextlib
import functools
import io
import logging
import os
import pathlib
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from spi_plugins.cli.arguments import RunError
from spi_plugins.cli.dispatch import INTERRUPTED, RUN_FAILED, main
from spi_plugins.cli.jobs.execution import Ended
from spi_plugins.cli.jobs.plan import Job, Progress, survey
from spi_plugins.plugins.registry import describe

# How often a run goes on after its worker has died.
_RETRIES = 3
# Seconds in which a cluster must answer.
_PATIENCE = 20
# Of the memory of a GPU that several runs share, JAX may reserve this much of a run's part.
_RESERVED = 0.9


class Work(NamedTuple):
    """A command for a worker; ``words`` are made there, just before, and are ``None`` if nothing is left to do."""

    name: str
    words: Callable[[], Sequence[str] | None]


class Result(NamedTuple):
    """Exit code and error of the command of a piece of work, by its place in the list."""

    at: int
    code: int
    error: str = ""


class _Task(NamedTuple):
    """What a worker is told; ``workplace`` is where the command was called."""

    words: Callable[[], Sequence[str] | None]
    workplace: pathlib.Path
    cpus: float
    gpus: float


@contextlib.contextmanager
def connected() -> Iterator[Any]:
    """Ray, connected to the cluster of ``RAY_ADDRESS``, to one that runs on this machine, or to a new local one.

    Raises:
        RunError: the cluster does not answer.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        yield ray
        return
    address = os.environ.get("RAY_ADDRESS", "local")
    try:
        _check_reachable(address)
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        hint = (
            "" if address == "local" else "; one with a token needs RAY_AUTH_MODE=token and ~/.ray/auth_token"
        )
        raise RunError(f"--on ray: no cluster at {address}{hint}: {describe(error)}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Ask whether somebody listens: Ray would try for minutes.

    Raises:
        OSError: nobody does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()


def run_on_ray(plan: Sequence[Progress], folder: pathlib.Path, args: argparse.Namespace) -> Iterator[Ended]:
    """As many runs at a time as the cluster has room for."""
    waiting = [progress for progress in plan if progress.state != "finished"]
    work = []
    for progress in waiting:
        # A run that does not exist yet is the user's own when it goes on after its worker has died.
        trusted = args.trust_imports or progress.state == "start"
        words = functools.partial(_remaining_words, progress.job, folder, trusted)
        work.append(Work(str(progress.job), words))
    for result in work_on_ray(work, args):
        yield Ended(waiting[result.at], result.code, result.error)


def _remaining_words(job: Job, folder: pathlib.Path, trust_imports: bool) -> list[str] | None:
    """The words that start or continue a run, by what its folder says now."""
    (progress,) = survey([job], folder)
    return None if progress.state == "finished" else progress.command(trust_imports=trust_imports)


def work_on_ray(work: Sequence[Work], args: argparse.Namespace) -> Iterator[Result]:
    """Commands of ``spi``, a Ray task each; Ctrl-C takes back those that wait, and interrupts the others.

    Args:
        work: the commands.
        args: of the options that ``add_cluster_options`` adds.

    Yields:
        Results as they come; the last one is 130 after Ctrl-C.
    """
    if not work:
        return
    with connected() as ray:
        _say(_about(ray.nodes(), len(work), args.cpus_per_run, args.gpus_per_run))
        remote = ray.remote(_call)
        tasks = {}
        for at, each in enumerate(work):
            task = _Task(each.words, pathlib.Path.cwd(), args.cpus_per_run, args.gpus_per_run)
            placed = remote.options(
                name=each.name, num_cpus=task.cpus, num_gpus=task.gpus, max_retries=_RETRIES
            )
            tasks[placed.remote(task)] = at
        waiting = list(tasks)
        try:
            while waiting:
                (done, *_), waiting = ray.wait(waiting)
                result = _result(ray, done, tasks[done])
                told = "stopped" if result.code == INTERRUPTED else "failed" if result.code else "finished"
                _say(f"[{len(tasks) - len(waiting)}/{len(tasks)}] {work[result.at].name}: {told}")
                yield result
        except KeyboardInterrupt:
            _say("\nStopping; each run saves its model first. Press Ctrl-C again to leave at once.")
            for each_task in tasks:
                ray.cancel(each_task)
            ray.wait(list(tasks), num_returns=len(tasks))
            yield Result(0, INTERRUPTED)


def _result(ray: Any, done: Any, at: int) -> Result:
    try:
        return Result(at, *ray.get(done))
    except ray.exceptions.TaskCancelledError:
        return Result(at, INTERRUPTED)
    except ray.exceptions.RayError as error:
        return Result(at, RUN_FAILED, " ".join(describe(error).split()))


def _call(task: _Task) -> tuple[int, str]:
    """Run a command in the process of a worker; return the exit code and the error."""
    if task.workplace.is_dir():
        os.chdir(task.workplace)
    # Before JAX is imported: XLA starts a thread for each core otherwise, and reserves most of the memory of a GPU.
    os.environ.setdefault("NPROC", f"{max(int(task.cpus), 1)}")
    if 0 < task.gpus < 1:
        os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{_RESERVED * task.gpus:.2f}")
    words = task.words()
    if words is None:
        return 0, ""
    with contextlib.redirect_stderr(io.StringIO()) as told:
        code = main(words)
    sys.stderr.write(told.getvalue())
    errors = [line for line in told.getvalue().splitlines() if line.startswith("spi: error: ")]
    return code, errors[-1].removeprefix("spi: error: ") if errors else ""


def _about(nodes: Sequence[Mapping[str, Any]], n_runs: int, cpus: float, gpus: float) -> str:
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    room = [(each.get("CPU", 0), each.get("GPU", 0)) for each in alive]
    total = [sum(kind) for kind in zip(*room, strict=True)] or [0, 0]
    machines = f"{len(alive)} machine{'s' if len(alive) > 1 else ''}"
    text = f"{n_runs} runs on Ray: {machines}, {total[0]:g} CPUs, {total[1]:g} GPUs."
    if not any(has_cpus >= cpus and has_gpus >= gpus for has_cpus, has_gpus in room):
        text += f" None of them has the {cpus:g} CPUs and {gpus:g} GPUs of a run: it waits for one that has."
    return text


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
