"""Episode statistics of the cost of a ``VecEnv``."""

import time
from typing import Any

import numpy as np
from stable_baselines3.common.monitor import Monitor, ResultsWriter
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from spi_integrations.stable_baselines3.account_env import AccountVecEnv
from spi_wrappers.cost.monitor import MonitorRule


class VecCostMonitor(MonitorRule, AccountVecEnv):
    """``VecMonitor`` for costs.

    ``infos[i]["episode"]`` gets the undiscounted cost ``"c"``, the cost per step ``"cost_rate"`` and, with a
    limit, ``"violation"``. Entries of a monitor inside are kept; without one, return ``"r"``, length ``"l"`` and
    seconds ``"t"`` are added, from the rewards as they arrive here.

    Args:
        venv: an environment with ``infos[i]["cost"]`` at each step.
        limit: an episode that costs more is a violation; not negative.
        buffer_length: number of episodes in ``cost_queue`` and ``violation_queue``.
        filename: of a log like ``VecMonitor``'s with a column ``c``, if any.

    Raises:
        ValueError: at a step, the cost is missing or not a finite number.
    """

    def __init__(
        self,
        venv: VecEnv,
        *,
        limit: float | None = None,
        buffer_length: int = 100,
        filename: str | None = None,
    ) -> None:
        super().__init__(venv, limit=limit, buffer_length=buffer_length)
        self._returns = np.zeros(venv.num_envs)
        self._lengths = np.zeros(venv.num_envs, np.int64)
        self._start = time.time()
        self._writer: ResultsWriter | None = None
        if filename is not None:
            spec = getattr(venv, "spec", None)
            header: dict[str, Any] = {"t_start": self._start, "env_id": str(getattr(spec, "id", None))}
            self._writer = ResultsWriter(filename, header=header, extra_keys=("c",))

    def reset(self) -> VecEnvObs:
        """Begin new episodes everywhere."""
        self._returns[:], self._lengths[:] = 0.0, 0
        return super().reset()

    def step_wait(self) -> VecEnvStepReturn:
        """Wait for the step and count it."""
        obs, rewards, dones, infos = super().step_wait()
        self._returns += rewards
        self._lengths += 1
        for i in np.flatnonzero(dones).tolist():
            self._finish(i, infos[i])
        return obs, rewards, dones, infos

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        """Report ``Monitor`` as present, because this wrapper does its job."""
        wrapped = super().env_is_wrapped(wrapper_class, indices)
        return [True] * len(wrapped) if issubclass(Monitor, wrapper_class) else wrapped

    def close(self) -> None:
        """Close the log and the environment."""
        if self._writer is not None:
            self._writer.close()
        super().close()

    def _finish(self, i: int, info: dict[str, Any]) -> None:
        own = {
            "r": round(float(self._returns[i]), 6),
            "l": int(self._lengths[i]),
            "t": round(time.time() - self._start, 6),
        }
        self._returns[i], self._lengths[i] = 0.0, 0
        info["episode"] = {**own, **info["episode"]}
        if self._writer is not None:
            self._writer.write_row({key: info["episode"][key] for key in ("r", "l", "t", "c")})
