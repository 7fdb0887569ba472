"""Iterations that run as one program before SB3's hooks of their steps are called."""

from collections import deque
from typing import Any

from spi_plugins.algorithms.base import JaxAlgorithm
from spi_plugins.algorithms.saved_model import ResumePoint


class ReplayedHooks(JaxAlgorithm):
    """An algorithm that can leave and save a replay of hooks at any of them, with everything counted.

    Its collector has ``episodes(first_row)``, as ``RolloutCollector`` says.
    """

    compiled: bool | None

    def _setup_model(self) -> None:
        # The time step that the environments have reached while hooks are replayed, and the rows counted so far.
        self._iteration_end: int | None = None
        self._n_counted = 0
        super()._setup_model()

    def _check_processes(self, refusal: str | None) -> None:
        """Refuse to step environments from Python in several processes, which would each step their own."""
        if self.devices.spans_processes and (refusal or self.compiled is False):
            reason = refusal or "compiled is False"
            raise ValueError(
                f"Several processes can only train where steps and updates are one program: {reason}."
            )

    def _resume_point(self) -> ResumePoint:
        point = super()._resume_point()
        if self._iteration_end is None:
            return point
        collector: Any = self._collector
        ep_info, ep_success = (
            deque(buffer, maxlen=self._stats_window_size) for buffer in (point.ep_info, point.ep_success)
        )
        for infos, done in collector.episodes(self._n_counted):
            ep_info.extend(info["episode"] for info in infos if "episode" in info)
            ended = (info for info, ends in zip(infos, done, strict=True) if ends)
            ep_success.extend(info["is_success"] for info in ended if "is_success" in info)
        return point._replace(
            num_timesteps=self._iteration_end, ep_info=list(ep_info), ep_success=list(ep_success)
        )

    def _settle(self) -> None:
        """Leave an iteration with everything counted, even if the replay of its hooks was cut short."""
        with self._exchange:
            if self._iteration_end is not None:
                collector: Any = self._collector
                for infos, done in collector.episodes(self._n_counted):
                    self._update_info_buffer(infos, done)
                self.num_timesteps, self._iteration_end = self._iteration_end, None
