"""Tells the user that XLA is compiling, and about how long it will take.

JAX reports each compilation's beginning and end to listeners, so nothing is added to calls of compiled programs.
"""

import contextlib
import contextvars
import json
import pathlib
import sys
import threading
from collections.abc import Iterator

import jax

from spi_plugins.algorithms.compile_cache import cache_folder, programs_are_kept
from spi_plugins.atomic import replacing

# JAX sends this as a scalar when a compilation begins, and as a duration when it ends. Its names have no promise: under
# others, there would be no notice.
_COMPILATION = "/jax/core/compile/backend_compile_duration"
# Sent in between for a program that was on disk, but only once it has been read.
_FOUND = "/jax/compilation_cache/cache_hits"
# Seconds in silence: small programs and those that are read from disk take less.
_PATIENCE = 2.0


class _Running:
    """A compilation in progress."""

    def __init__(self, program: str):
        self.program = program
        self.first = programs_are_kept()  # or it would have been found on disk
        self.lock = threading.Lock()
        self.told = self.ended = self.found = False


class _Listener:
    """Follows the compilations of this process."""

    def __init__(self, owner: str):
        self.owner = owner
        self._running: dict[int, tuple[_Running, threading.Timer]] = {}  # by thread

    def begins(self, event: str, value: float | int, **kwargs: str | int) -> None:
        """Take JAX's scalars, the times at which something begins."""
        if event != _COMPILATION:
            return
        running = _Running(f"{self.owner} {kwargs.get('fun_name', '')} on {jax.default_backend()}".lstrip())
        timer = threading.Timer(_PATIENCE, _tell, (running,))
        timer.daemon = True
        self._running[threading.get_ident()] = running, timer
        timer.start()

    def happens(self, event: str, **kwargs: str | int) -> None:
        """Take JAX's events without a number."""
        running = self._running.get(threading.get_ident()) if event == _FOUND else None
        if running is not None:
            running[0].found = True

    def ends(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        """Take JAX's durations of what has ended or failed."""
        found = self._running.pop(threading.get_ident(), None) if event == _COMPILATION else None
        if found is None:
            return
        running, timer = found
        timer.cancel()
        with running.lock:
            running.ended = True
        if running.told and running.found:
            _say(f"It was on disk, and took {duration_secs:.0f} s to read.")
        elif running.told:
            _say(f"Compiled in {duration_secs:.0f} s.")
            _remember(running.program, duration_secs)

    def stop(self) -> None:
        """Announce nothing from here on."""
        for _, timer in self._running.values():
            timer.cancel()


def _tell(running: _Running) -> None:
    seconds = _remembered().get(running.program)
    facts = ["first time on this machine"] if running.first else []
    facts.append("may take a minute" if seconds is None else f"about {seconds:.0f} s")
    with running.lock:
        if not running.ended:
            running.told = True
            _say(f"Compiling ({', '.join(facts)}) ...")


_ACTIVE: contextvars.ContextVar[_Listener | None] = contextvars.ContextVar("compile_notice", default=None)


@contextlib.contextmanager
def announcing_compilation(owner: str = "", *, shown: bool = True) -> Iterator[None]:
    """Write to stderr when a program compiles for more than two seconds, in this block.

    Args:
        owner: whose programs they are; their compile times are remembered under this name.
        shown: whether to announce anything. A block inside of one that does announces, too.
    """
    outer = _ACTIVE.get()
    if outer is not None:
        before, outer.owner = outer.owner, owner
        try:
            yield
        finally:
            outer.owner = before
        return
    if not shown:
        yield
        return
    listener = _Listener(owner)
    token = _ACTIVE.set(listener)
    jax.monitoring.register_scalar_listener(listener.begins)
    jax.monitoring.register_event_listener(listener.happens)
    jax.monitoring.register_event_duration_secs_listener(listener.ends)
    try:
        yield
    finally:
        jax.monitoring.unregister_scalar_listener(listener.begins)
        jax.monitoring.unregister_event_listener(listener.happens)
        jax.monitoring.unregister_event_duration_listener(listener.ends)
        _ACTIVE.reset(token)
        listener.stop()


def _say(text: str) -> None:
    if jax.process_index():  # of several processes, the first one speaks
        return
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _times_file() -> pathlib.Path | None:
    folder = cache_folder()
    return None if folder is None else folder / "compile_times.json"


def _remembered() -> dict[str, float]:
    """Seconds that each program took to compile the last time, whatever its shapes."""
    file = _times_file()
    if file is None:
        return {}
    with contextlib.suppress(OSError, ValueError, AttributeError):
        stored = json.loads(file.read_text("utf-8"))
        return {str(name): float(seconds) for name, seconds in stored.items()}
    return {}


def _remember(program: str, seconds: float) -> None:
    file = _times_file()
    if file is None:
        return
    times = {**_remembered(), program: round(seconds, 1)}
    with contextlib.suppress(OSError), replacing(file) as opened:
        opened.write(json.dumps(times, indent=2).encode())
