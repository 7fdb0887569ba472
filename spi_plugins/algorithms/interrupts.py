"""The exchange of a state for the next: no signal handler and no other thread sees it half done.

A jitted update consumes (donates) the arrays that it is given. Between the call and the storing of its result the model
has no arrays, so an exception in between would leave it dead, and another thread would find deleted arrays.
"""

import collections
import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

# Seconds after which a training looks for handlers that were installed since.
_LOOK_AGAIN = 1.0


class Exchange:
    """A reentrant lock around donate-and-store and around reading, which also holds back the handlers of signals.

    Threads get it in the order in which they ask: a training that takes it again at once shuts nobody out.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._queue: collections.deque[Any] = collections.deque()
        self._owner: int | None = None
        self._depth = 0

    def __enter__(self) -> None:
        _signals.hold()
        try:
            self._acquire()
        except BaseException:
            _signals.let_go()
            raise

    def __exit__(self, *error: object) -> None:
        self._release()
        _signals.let_go()

    def _acquire(self) -> None:
        me = threading.get_ident()
        if self._owner == me:
            self._depth += 1
            return
        with self._mutex:
            if self._owner is None:
                self._owner = me
                return
            gate = threading.Lock()
            gate.acquire()
            self._queue.append(gate)
        try:
            gate.acquire()
        except BaseException:
            with self._mutex:
                waits = gate in self._queue
                if waits:
                    self._queue.remove(gate)
            if not waits:  # it was handed over in the meantime
                self._release()
            raise
        self._owner = me

    def _release(self) -> None:
        if self._depth:
            self._depth -= 1
            return
        with self._mutex:
            self._owner = None
            if self._queue:
                self._owner = 0  # no thread's: on its way to the next
                self._queue.popleft().release()


def _in_main_thread() -> bool:
    return threading.get_ident() == threading.main_thread().ident


class _Deferring:
    """A handler that runs at once, or at the end of the exchange that the signal came in."""

    def __init__(self, handler: Callable[[int, FrameType | None], Any]):
        self.handler = handler

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if _signals.depth:
            _signals.caught.append((self.handler, number, frame))
        else:
            self.handler(number, frame)


class _Signals:
    """The signals of this process, whose handlers run in its main thread."""

    def __init__(self) -> None:
        self.depth = 0
        self.caught: collections.deque[tuple[Callable[..., Any], int, FrameType | None]] = collections.deque()

    def hold(self) -> None:
        if _in_main_thread():
            self.depth += 1

    def let_go(self) -> None:
        if _in_main_thread():
            self.depth -= 1
            if self.caught and not self.depth:
                self._deliver()

    def _deliver(self) -> None:
        while self.caught:
            handler, number, frame = self.caught.popleft()
            handler(number, frame)

    def wrap(self) -> dict[int, _Deferring]:
        """Make the handlers that Python code has installed deferring; return the new ones."""
        wrapped = {}
        for number in signal.valid_signals():
            handler = signal.getsignal(number)
            if callable(handler) and not isinstance(handler, _Deferring):
                wrapped[int(number)] = _Deferring(handler)
                signal.signal(number, wrapped[int(number)])
        return wrapped

    def unwrap(self, wrapped: dict[int, _Deferring]) -> None:
        self.hold()
        try:
            for number, deferring in wrapped.items():
                current: Any = signal.getsignal(number)
                if current is deferring:
                    signal.signal(number, deferring.handler)
        finally:
            self.let_go()


_signals = _Signals()


@contextlib.contextmanager
def deferring_handlers() -> Iterator[Callable[[], None]]:
    """Let exchanges hold back every Python handler of a signal, until the end of the block.

    Does nothing outside the main thread, where no handler runs.

    Yields:
        What to call now and then, for handlers that were installed since.
    """
    if not _in_main_thread():
        yield lambda: None
        return
    wrapped: dict[int, _Deferring] = {}
    looked, depth = 0.0, _signals.depth

    def look() -> None:
        nonlocal looked
        if time.monotonic() - looked >= _LOOK_AGAIN:
            wrapped.update(_signals.wrap())
            looked = time.monotonic()

    try:
        look()
        yield look
    finally:
        _signals.depth = depth  # in case a handler that did not defer has left an exchange by an exception
        _signals.unwrap(wrapped)
