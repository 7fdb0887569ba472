"""The gradient steps of an agent that learns from a replay buffer: when they are due, and how they are made."""

import dataclasses
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spi_plugins.agents.interaction import CHUNK
from spi_plugins.agents.packed import Packed
from spi_plugins.agents.planning import PlanningAgent, SPOWLMetrics, SPOWLState
from spi_plugins.algorithms.planning_metrics import checked, shown
from spi_plugins.algorithms.replay_collector import Standing
from spi_plugins.algorithms.replay_memory import can_sample, empty_buffer, training_data
from spi_plugins.algorithms.replayed_hooks import ReplayedHooks
from spi_plugins.algorithms.saved_model import ResumePoint
from spi_plugins.algorithms.schedules import remaining_progress, scheduled
from spi_plugins.buffers import Buffer
from spi_plugins.host_buffers import HostBuffer


def _zeros() -> NDArray[Any]:
    return np.zeros(len(SPOWLMetrics._fields))


@dataclasses.dataclass
class _Begun:
    """An update whose gradient steps have begun."""

    end: int  # the number of time steps at which it is due
    n_updates: int
    learning_rate: np.float32
    n_begun: int = 0
    running: tuple[Packed, int] | None = None  # metrics and number of the steps that may not be done yet
    totals: NDArray[Any] = dataclasses.field(default_factory=_zeros)
    last: NDArray[Any] = dataclasses.field(default_factory=_zeros)


class ReplayUpdates(ReplayedHooks):
    """Updates on a replay buffer after every ``train_freq`` steps of each environment.

    With ``overlap_updates``, an update begins when the actions of the last of these steps are known: the device makes
    its first chunk of gradient steps, on what the buffer has by then, while the environments make that step. It ends
    before callbacks see the step.
    """

    agent: PlanningAgent
    buffer_size: int
    buffer_device: Literal["auto", "device", "host"]
    learning_starts: int
    train_freq: int
    gradient_steps: int
    pretrain_steps: int
    overlap_updates: bool
    _agent_state: SPOWLState
    _standing: Standing
    _update: Any  # ``update_packed``, compiled

    def _setup_model(self) -> None:
        self._replay_buffer: Buffer | HostBuffer | None = None
        self._has_windows = False  # so far as is known: looking waits for the device
        self._begun: _Begun | None = None
        super()._setup_model()

    @property
    def replay_buffer(self) -> Buffer | HostBuffer:
        """The remembered steps; takes memory only once something reads or fills it."""
        if self._replay_buffer is None:
            self._replay_buffer = empty_buffer(self)
        return self._replay_buffer

    @replay_buffer.setter
    def replay_buffer(self, buffer: Buffer | HostBuffer | None) -> None:
        self._replay_buffer, self._has_windows = buffer, False

    def _can_update(self, num_timesteps: int) -> bool:
        if num_timesteps < self.learning_starts:
            return False
        self._has_windows = self._has_windows or can_sample(
            self.replay_buffer, self.agent.config.model.horizon
        )
        return self._has_windows

    def _at_boundary(self, num_timesteps: int) -> bool:
        """By the count of steps alone, so that a resumed run updates where an unbroken one does."""
        return (num_timesteps // self.n_envs) % self.train_freq == 0

    def _is_due(self, num_timesteps: int) -> bool:
        """Whether an update belongs at ``num_timesteps`` and was not made: a file may be saved just before it."""
        missing = self._standing.trained_at < num_timesteps and self._at_boundary(num_timesteps)
        return missing and self._can_update(num_timesteps)

    def _gradient_steps(self, num_timesteps: int) -> int:
        """How many are due after ``num_timesteps``."""
        if self.pretrain_steps and self._n_updates == 0:
            return self.pretrain_steps
        if self.gradient_steps > 0:
            return self.gradient_steps
        return max(num_timesteps - self._standing.trained_at, 1)

    def _learning_rate(self, num_timesteps: int, total: int) -> np.float32:
        remaining = remaining_progress(num_timesteps, total)
        return np.float32(scheduled("learning_rate", self.lr_schedule, remaining))

    def _begin_update(self, end: int) -> None:
        """Let the device make the first gradient steps of the update that is due at ``end``, and do not wait."""
        rate = self._learning_rate(end, self._total_timesteps)
        begun = _Begun(end, self._gradient_steps(end), rate)
        self._begin_chunk(begun)

    def _begin_chunk(self, begun: _Begun) -> None:
        # An interrupt waits for no more than the steps of a chunk.
        count, config = min(CHUNK, begun.n_updates - begun.n_begun), self.agent.config
        data = training_data(
            self.replay_buffer, self._agent_state.key, CHUNK, config.batch_size, config.model.horizon
        )
        with self._exchange:
            self._agent_state, packed = self._update(
                self._agent_state, data, np.int32(count), begun.learning_rate
            )
            begun.running, begun.n_begun = (packed, count), begun.n_begun + count
            self._begun = begun
            if begun.n_begun == begun.n_updates:
                self._standing = self._standing._replace(trained_at=begun.end)

    def _wait(self) -> None:
        """Wait for the gradient steps that run, and count them."""
        with self._exchange:
            begun = self._begun
            if begun is None or begun.running is None:
                return
            (packed, count), begun.running = begun.running, None
            begun.last = np.asarray(packed.values)
            begun.totals += begun.last * (count / begun.n_updates)
            if np.isfinite(begun.last).all():
                self._n_updates += count
            else:  # they were not made, and no others are tried
                begun.n_begun = begun.n_updates
                self._standing = self._standing._replace(trained_at=begun.end)

    def _end_update(self) -> None:
        """Make the rest of an update that has begun, if one has."""
        self._wait()
        while self._begun is not None and self._begun.n_begun < self._begun.n_updates:
            self._begin_chunk(self._begun)
            self._wait()

    def _train(self) -> SPOWLMetrics:
        """All gradient steps that are due, unless they were made already, and their metrics."""
        if self._begun is None:
            self._begin_update(self.num_timesteps)
        self._end_update()
        begun, self._begun = self._begun, None
        assert begun is not None
        return checked(SPOWLMetrics(*begun.totals), SPOWLMetrics(*begun.last), begun.end)

    def _resume_point(self) -> ResumePoint:
        self._wait()
        return super()._resume_point()

    def _settle(self) -> None:
        """Leave an iteration, also in the middle of an update."""
        self._wait()
        self._begun = None
        super()._settle()

    def _log_update(self, metrics: SPOWLMetrics) -> None:
        learning_rate = self._learning_rate(self.num_timesteps, self._total_timesteps)
        self.logger.record("train/learning_rate", float(learning_rate))
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        for name, value in shown(metrics, self.agent.config).items():
            self.logger.record(f"train/{name}", value)
