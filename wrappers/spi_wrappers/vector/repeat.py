"""Actions of a vector environment that are repeated for several steps."""

from typing import Any, NamedTuple

import numpy as np
from gymnasium.vector import SyncVectorEnv, VectorEnv
from numpy.typing import NDArray

from spi_wrappers.cost.accounts.account import Bools, Floats
from spi_wrappers.cost.accounts.batches import row_of, with_rows
from spi_wrappers.cost.accounts.infos import FINAL_KEYS, Infos, VectorInfo, mask_of, overlaid, without
from spi_wrappers.cost.accounts.rows import HELD_KEY, Step, check_rows_can_be_reset, held, reset_rows
from spi_wrappers.cost.repeat import RepeatRule
from spi_wrappers.cost.vector_wrapper import CostVectorWrapper


class _Window(NamedTuple):
    """The sums over the steps of one repeated action so far; rows stop where their episode ends."""

    observations: Any
    reward: Floats
    terminated: Bools
    truncated: Bools
    infos: Infos
    cost: Floats
    steps: NDArray[np.int64]
    early: Bools


class ActionRepeat(RepeatRule, CostVectorWrapper):
    """``spi_wrappers.ActionRepeat`` for vector environments.

    Rows whose episode ends wait for the others. ``SyncVectorEnv`` can hold them; in other vector environments they
    continue unseen and are reset once more, by ``reset(options={"reset_mask": ...})``, which consumes random
    numbers: the episodes then differ from those of single environments with the same seed.

    Raises:
        ValueError: also if the environment is not known to honor ``reset_mask``.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], repeat: int) -> None:
        super().__init__(env, repeat)
        if self.account.repeat > 1:
            check_rows_can_be_reset(env, self._name)

    def step_inside(self, actions: Any) -> Step:
        """Step all rows up to ``repeat`` times."""
        waiting = np.zeros(self._size, np.bool_) if self._over is None else self._over
        window = self._first(actions, waiting)
        for _ in range(self.account.repeat - 1):
            window = self._continued(window, actions, waiting)
        self.account.total, self.account.steps = window.cost, window.steps
        observations, infos = window.observations, window.infos
        if self.account.repeat > 1:
            observations, infos = self._fresh(window, waiting)
        return observations, window.reward, window.terminated, window.truncated, infos

    def _first(self, actions: Any, waiting: Bools) -> _Window:
        if self.account.repeat == 1:  # the environment resets rows by itself
            observations, reward, terminated, truncated, infos = self.env.step(actions)
        else:
            with held(self.env, waiting):
                observations, reward, terminated, truncated, infos = self.env.step(actions)
            if waiting.any():
                infos = without(infos, waiting)
        still = waiting
        terminated, truncated = terminated & ~still, truncated & ~still
        cost = self._cost_of(infos, ~still, terminated | truncated)
        early = np.zeros(self._size, np.bool_)
        steps = (~still).astype(np.int64)
        return _Window(
            observations, np.where(still, 0.0, reward), terminated, truncated, infos, cost, steps, early
        )

    def _continued(self, window: _Window, actions: Any, waiting: Bools) -> _Window:
        """Take one more step in rows whose episode has not ended."""
        over = window.terminated | window.truncated
        still = over | waiting
        if not (self._next_step or self._same_step) and (over & ~window.early).any():
            with held(self.env, over & ~window.early):  # DISABLED: it refuses to step rows that ended
                reset_rows(self.env, over & ~window.early)
        with held(self.env, still):
            observations, reward, terminated, truncated, infos = self.env.step(actions)
        rows = np.flatnonzero(still)
        if len(rows):
            space = self.env.single_observation_space
            last = {row: row_of(space, window.observations, row) for row in rows.tolist()}
            observations = with_rows(space, observations, rows, last)
            terminated = np.where(still, window.terminated, terminated)
            truncated = np.where(still, window.truncated, truncated)
            infos = overlaid(infos, window.infos, still)
        newly = (terminated | truncated) & ~still
        return _Window(
            observations,
            window.reward + np.where(still, 0.0, reward),
            terminated,
            truncated,
            infos,
            window.cost + self._cost_of(infos, ~still, newly),
            window.steps + ~still,
            over,
        )

    def _cost_of(self, infos: Infos, live: Bools, ended: Bools) -> Floats:
        final = ended if self._same_step and ended.any() else None
        if HELD_KEY in infos:  # a wrapper outside holds these rows
            live = live & ~mask_of(infos, HELD_KEY, self._size)
        return self._cost(VectorInfo(infos, self._size, final), infos, live, final)

    def _fresh(self, window: _Window, waiting: Bools) -> tuple[Any, Infos]:
        """Observations and infos, after resetting the rows that continued unseen or waited."""
        rows = waiting
        if self._same_step:
            rows = window.early & ~np.full(self._size, isinstance(self.env.unwrapped, SyncVectorEnv))
        observations, infos = window.observations, window.infos
        if not rows.any():
            return observations, infos
        space = self.env.single_observation_space
        fresh, fresh_infos = reset_rows(self.env, rows)
        indices = np.flatnonzero(rows)
        first = {row: row_of(space, fresh, row) for row in indices.tolist()}
        ends = {key: infos[key] for key in FINAL_KEYS if key in infos}
        steps = {key: value for key, value in infos.items() if key not in ends}
        return with_rows(space, observations, indices, first), {**overlaid(steps, fresh_infos, rows), **ends}
