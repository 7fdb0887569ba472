"""Worker processes of vector environments: which of them died."""

from typing import Any


class WorkerDiedError(RuntimeError):
    """A process of a vector environment is gone; the message names it."""


class NamingDeadWorkers:
    """A context that names the processes of a vector environment that died instead of their broken pipes.

    A class, because it is entered at every step, where a generator costs a multiple.

    Raises:
        WorkerDiedError: a pipe broke.
    """

    __slots__ = ("env",)

    def __init__(self, env: Any):
        self.env = env

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, BrokenPipeError | ConnectionResetError | EOFError):
            _name_dead_workers(self.env, error)


def _name_dead_workers(env: Any, error: BaseException) -> None:
    processes: Any = ()
    while env is not None and not processes:
        name, processes = type(env).__name__, getattr(env, "processes", ())
        env = getattr(env, "venv", None) or getattr(env, "env", None)
    for process in processes:
        process.join(timeout=0.1)  # a pipe breaks before its process is gone
    dead = [f"{i} (exit code {each.exitcode})" for i, each in enumerate(processes) if not each.is_alive()]
    if dead:
        raise WorkerDiedError(
            f"A worker process of {name} died: environment {', '.join(dead)}. If its environment failed, the "
            "traceback is in the output above."
        ) from error
