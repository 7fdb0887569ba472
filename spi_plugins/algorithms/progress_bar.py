"""The progress bar of ``learn``, ``fit_world_model`` and the command line."""

import contextlib
import time
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback

from spi_plugins.algorithms.quiet_steps import FOREVER
from spi_plugins.errors import MissingDependencyError

# Reports from which the pace is measured, at most one a second.
_WINDOW = 30
_REFRESH = 0.1  # seconds


class ProgressBar:
    """Shows how far something is, what was reported last and, from the second report on, pace and remaining time.

    What happens before the first report, which is where programs compile, does not count.
    """

    def __init__(self, title: str, total: int, unit: str = "fps"):
        try:
            from rich import progress
        except ImportError as error:
            raise MissingDependencyError.named("rich", "Progress bars", "cli") from error
        self.unit = unit
        self._marks: deque[tuple[float, int]] = deque(maxlen=_WINDOW)
        self._shown_at = 0.0
        columns = (
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=10),
            progress.TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            progress.TimeElapsedColumn(),
            progress.TextColumn("{task.fields[facts]}"),
        )
        self._bar = progress.Progress(*columns)
        self._task = self._bar.add_task(title, total=total, facts="")
        self._total = total

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Draw it once more, and leave it."""
        self._bar.stop()

    def show(self, done: int) -> None:
        """Move to ``done``."""
        now = time.monotonic()
        if now - self._shown_at >= _REFRESH or done >= self._total:
            self._shown_at = now
            self._bar.update(self._task, completed=min(done, self._total))

    def report(self, done: int, facts: dict[str, str]) -> None:
        """Move to ``done`` after an iteration, and show what it measured."""
        now = time.monotonic()
        if not self._marks or now - self._marks[-1][0] >= 1.0:
            self._marks.append((now, done))
        texts = [f"{name} {value}" for name, value in facts.items()]
        then, before = self._marks[0]
        if done > before:
            pace = (done - before) / (now - then)
            texts.append(f"{pace:,.0f} {self.unit}")
            texts.append(f"{_clock((self._total - done) / pace)} left")
        self._bar.update(self._task, completed=min(done, self._total), facts=" ".join(texts))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class ProgressBarCallback(BaseCallback):
    """Shows steps, mean return and cost of the last episodes, and speed; for any Stable-Baselines3 algorithm."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: ProgressBar | None = None

    def close(self) -> None:
        """Leave the bar; for a training that did not end by itself."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _on_training_start(self) -> None:
        self.close()
        self._before = self.model.num_timesteps
        self._n_rollouts = 0
        total = self.locals["total_timesteps"] - self._before
        self._bar = ProgressBar("", max(total, 1)).__enter__()

    def _on_rollout_start(self) -> None:
        # Here rather than at a rollout's end, because the first update, which compiles, comes between the two. Steps
        # before a replay algorithm's first update are of another pace.
        if self._bar is not None and self.model.num_timesteps > getattr(self.model, "learning_starts", 0):
            self._n_rollouts += 1
            if self._n_rollouts > 1:
                self._bar.report(self.model.num_timesteps - self._before, recent_episodes(self.model))

    def quiet_steps(self) -> int:
        """It may show many steps at once."""
        return FOREVER

    def _on_step(self) -> bool:
        if self._bar is not None:
            self._bar.show(self.model.num_timesteps - self._before)
        return True

    def _on_training_end(self) -> None:
        if self._bar is not None:
            self._bar.report(self.model.num_timesteps - self._before, recent_episodes(self.model))
        self.close()


@contextlib.contextmanager
def added_progress_bar(callback: Any, *, shown: bool) -> Iterator[Any]:
    """SB3's callback in any of its forms, and a progress bar that leaves the screen however the block ends."""
    if not shown:
        yield callback
        return
    if isinstance(callback, list):
        callback = CallbackList(callback)
    elif not isinstance(callback, BaseCallback):
        callback = ConvertCallback(callback)
    with contextlib.closing(ProgressBarCallback()) as bar:
        yield CallbackList([callback, bar])


def recent_episodes(model: Any) -> dict[str, str]:
    """Mean return, and mean cost where there are costs, of the episodes that the log averages over."""
    episodes = model.ep_info_buffer or ()
    texts = {}
    for name, key in (("return", "r"), ("cost", "c")):
        values = [info[key] for info in episodes if key in info]
        if values:
            texts[name] = f"{np.mean(values):.3g}"
    return texts
