"""Worker processes of vector environments: which of them died."""

import contextlib
from collections.abc import Iterator
from typing import Any


class WorkerDiedError(RuntimeError):
    """A process of a vector environment is gone; the message names it."""


@contextlib.contextmanager
def naming_dead_workers(env: Any) -> Iterator[None]:
    """Name the processes of a vector environment that died instead of their broken pipes.

    Raises:
        WorkerDiedError: a pipe broke.
    """
    try:
        yield
    except (BrokenPipeError, ConnectionResetError, EOFError) as error:
        processes: Any = ()
        while env is not None and not processes:
            name, processes = type(env).__name__, getattr(env, "processes", ())
            env = getattr(env, "venv", None) or getattr(env, "env", None)
        for process in processes:
            process.join(timeout=0.1)  # a pipe breaks before its process is gone
        dead = [f"{i} (exit code {each.exitcode})" for i, each in enumerate(processes) if not each.is_alive()]
        if not dead:
            raise
        raise WorkerDiedError(
            f"A worker process of {name} died: environment {', '.join(dead)}. If its environment failed, the "
            "traceback is in the output above."
        ) from error
