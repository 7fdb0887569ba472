"""Worker processes of vector environments: which of them died."""

import multiprocessing.connection
import multiprocessing.context
from typing import Any

from stable_baselines3.common.vec_env import SubprocVecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn


class WorkerDiedError(RuntimeError):
    """A process of a vector environment is gone; the message names it."""


_FORKED: Any = getattr(multiprocessing.context, "ForkProcess", ())  # Windows has none


class ForkedVecEnv(SubprocVecEnv):
    """A ``SubprocVecEnv`` of forked processes that notices when one of them dies in a step.

    Forked processes hold copies of each other's pipes, so a pipe does not end with its process, and SB3 would wait for
    an answer forever.
    """

    @classmethod
    def adopt(cls, env: Any) -> None:
        """Make a user's ``SubprocVecEnv`` one of these, in place, for other objects hold it."""
        if type(env) is SubprocVecEnv and all(isinstance(each, _FORKED) for each in env.processes):
            env.__class__ = cls

    def step_wait(self) -> VecEnvStepReturn:
        """Step all environments.

        Raises:
            EOFError: a process died.
        """
        for remote, process in zip(self.remotes, self.processes, strict=True):
            if remote not in multiprocessing.connection.wait([remote, process.sentinel]):
                self.waiting = False  # or close() would wait
                raise EOFError("a worker process died")
        return super().step_wait()


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
