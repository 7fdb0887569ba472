"""Ctrl-C in a training run: stop where the model is consistent."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from stable_baselines3.common.callbacks import BaseCallback

from spi_plugins.algorithms.quiet_steps import FOREVER


class TrainingInterrupted(Exception):  # noqa: N818 - nothing went wrong
    """Raised to leave ``learn`` after Ctrl-C, between an update and the next rollout."""


class StopBetweenRollouts(BaseCallback):
    """Ends training at the start of the next rollout after Ctrl-C.

    Between rollouts every update is complete and every counter correct; inside one, steps would be lost.
    """

    def __init__(self) -> None:
        super().__init__()
        self.requested = False

    @contextlib.contextmanager
    def listen(self) -> Iterator[None]:
        """Take Ctrl-C as a request to stop; a second one raises ``KeyboardInterrupt`` at once.

        Does nothing outside the main thread, where no signals arrive.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = signal.signal(signal.SIGINT, self._on_signal)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        sys.stderr.write(
            "\nStopping after this rollout and its update. Press Ctrl-C again to stop now without saving.\n"
        )

    def _on_rollout_start(self) -> None:
        if self.requested:
            raise TrainingInterrupted

    def quiet_steps(self) -> int:
        """It looks between rollouts only."""
        return FOREVER

    def _on_step(self) -> bool:
        return True
