"""Resetting and holding single rows of a vector environment."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv, VectorWrapper
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from spi_wrappers.cost.accounts.account import Bools, Floats
from spi_wrappers.cost.accounts.infos import Infos, overlaid

#: Marks the rows that are held in a step; the wrapper that holds them does not pass it on.
HELD_KEY = "spi_held"

Step = tuple[Any, Floats, Bools, Bools, Infos]


def check_rows_can_be_reset(env: VectorEnv[Any, Any, Any], wrapper: str) -> None:
    """Refuse an environment whose ``reset(options={"reset_mask": ...})`` is not known to reset single rows."""
    layer: Any = env
    while isinstance(layer, VectorWrapper):
        if isinstance(layer, RecordEpisodeStatistics):
            raise ValueError(
                f"{wrapper} resets single rows, and gymnasium.wrappers.vector.RecordEpisodeStatistics then loses "
                f"the returns of all others. Put it around {wrapper}, not inside."
            )
        layer = layer.env
    honoured = isinstance(layer, SyncVectorEnv | AsyncVectorEnv) or getattr(
        layer, "honours_reset_mask", False
    )
    if not honoured:
        raise ValueError(
            f"{wrapper} must reset single rows of the vector environment, by "
            f"reset(options={{'reset_mask': ...}}). {type(layer).__name__} is not known to honor that mask "
            "(SyncVectorEnv, AsyncVectorEnv and FunctionalVectorEnv do; others declare it by an attribute "
            f"honours_reset_mask = True). Wrap each single environment instead, e.g. "
            f"gymnasium.make_vec(id, n, vectorization_mode='sync', wrappers=[spi_wrappers.{wrapper}])."
        )


def reset_rows(env: VectorEnv[Any, Any, Any], rows: Bools) -> tuple[Any, Infos]:
    """Reset some rows and return the observations of all."""
    return env.reset(options={"reset_mask": rows.copy()})


def step_and_reset(env: VectorEnv[Any, Any, Any], actions: Any, rows: Bools) -> Step:
    """Reset some rows and step all others, as ``NEXT_STEP`` does after an episode's end.

    Environments other than ``SyncVectorEnv`` also step the rows before their reset, which consumes the random numbers
    of one transition.
    """
    with held(env, rows):
        _, reward, terminated, truncated, infos = env.step(actions)
    observations, fresh_infos = reset_rows(env, rows)
    infos = overlaid(infos, fresh_infos, rows)
    return observations, np.where(rows, 0.0, reward), terminated & ~rows, truncated & ~rows, infos


class _Held:
    """Replaces an environment that should neither step nor reset."""

    def __init__(self, observation: Any) -> None:
        self._observation = observation

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self._observation, 0.0, False, False, {HELD_KEY: True}

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        return self._observation, {HELD_KEY: True}


@contextlib.contextmanager
def held(env: VectorEnv[Any, Any, Any], rows: Bools) -> Iterator[None]:
    """Hold some rows of a ``SyncVectorEnv`` while the others step; they return their last observation again.

    A held row is not reset either, although the environment believes that it was.
    """
    base = env.unwrapped
    if not isinstance(base, SyncVectorEnv):
        yield
        return
    true = list(base.envs)
    for row in np.flatnonzero(rows).tolist():
        base.envs[row] = _Held(base._env_obs[row])  # type: ignore[call-overload]
    try:
        yield
    finally:
        base.envs[:] = true
