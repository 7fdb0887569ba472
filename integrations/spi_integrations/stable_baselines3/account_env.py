"""The accounts of ``spi_wrappers`` around any Stable-Baselines3 ``VecEnv``."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor, ResultsWriter
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from spi_integrations.stable_baselines3.episode_costs import Infos
from spi_wrappers.cost.accounts import checks
from spi_wrappers.cost.accounts.account import AccountHolder, StepOutcome, StepRows
from spi_wrappers.cost.accounts.features import extended, extended_space
from spi_wrappers.cost.accounts.infos import write_row
from spi_wrappers.cost.accounts.multiplier import Multiplier, PIDGains
from spi_wrappers.cost.lagrangian import LagrangianRule
from spi_wrappers.cost.monitor import MonitorRule
from spi_wrappers.cost.saute import SauteRule


class InfoList:
    """``InfoRows`` of a ``VecEnv``."""

    def __init__(self, infos: Infos) -> None:
        self._infos = infos

    def read(self, key: str) -> tuple[Any, NDArray[np.bool_]]:
        """Values under ``key``, object ``[n]``, ``None`` where a row has none, and which rows have one."""
        there = np.array([key in info for info in self._infos])
        if not there.any():
            return None, there
        values = np.full(len(self._infos), None, dtype=object)
        for i, info in enumerate(self._infos):
            values[i] = info.get(key)
        return values, there

    def keys(self) -> list[str]:
        """The keys that at least one row has."""
        return sorted({key for info in self._infos for key in info})

    def whole(self) -> dict[str, Any]:
        """All of it as a Gymnasium vector's infos, with masks."""
        rows = {key: self.read(key) for key in self.keys()}
        return {key: values for key, (values, _) in rows.items()} | {
            f"_{key}": there for key, (_, there) in rows.items()
        }


class AccountVecEnv(VecEnvWrapper, AccountHolder):
    """A ``VecEnv`` whose steps go through an account that reads costs.

    Where an episode ends, ``infos[i]["terminal_observation"]`` gets the account's last feature, and the observation
    that of the new episode.

    Args:
        venv: an environment with ``infos[i]["cost"]``, a finite number, at each step.
        **kwargs: of the account.
    """

    def __init__(self, venv: VecEnv, **kwargs: Any) -> None:
        if not isinstance(venv, VecEnv):
            raise TypeError(
                f"{self._name} wraps a Stable-Baselines3 VecEnv, got {type(venv).__name__}; "
                "make one with spi_integrations.stable_baselines3.as_vec_env."
            )
        self.account = self.build_account(venv.num_envs, kwargs)
        space = venv.observation_space
        if self.account.feature is not None:
            space = extended_space(space, self.account.feature, self._name)
        VecEnvWrapper.__init__(self, venv, observation_space=space)
        self._all = np.ones(venv.num_envs, np.bool_)

    def reset(self) -> VecEnvObs:
        """Begin new episodes everywhere."""
        obs = self.venv.reset()
        infos: Infos = [{} for _ in range(self.num_envs)]
        outcome = self.account.restart(self._all, InfoList(infos))
        shown: VecEnvObs = extended(obs, outcome.feature, self.account.feature)
        return shown

    def step_wait(self) -> VecEnvStepReturn:
        """Wait for the step and account for it."""
        obs, rewards, dones, raw_infos = self.venv.step_wait()
        infos: Infos = [dict(info) for info in raw_infos]
        rows = self._rows(rewards, dones, infos)
        outcome = self.account.step(rows)
        self._write(infos, outcome, rows.ended_rows)
        feature = outcome.feature
        if len(rows.ended_rows):
            feature = self.account.restart(rows.ended, InfoList(infos)).feature
        if outcome.reward is not None:
            rewards = np.asarray(outcome.reward, np.float32)
        return extended(obs, feature, self.account.feature), rewards, dones, infos

    def _rows(self, rewards: NDArray[Any], dones: NDArray[np.bool_], infos: Infos) -> StepRows:
        ended = np.asarray(dones, np.bool_)
        limited = np.array([bool(info.get("TimeLimit.truncated", False)) for info in infos])
        return StepRows(
            reward=np.asarray(rewards, np.float64),
            terminated=ended & ~limited,
            truncated=ended & limited,
            cost=np.array([checks.cost_in(info, self._name) for info in infos]),
            live=self._all,
            ended=ended,
            ended_rows=ended.nonzero()[0],
            info=InfoList(infos),
        )

    def _write(self, infos: Infos, outcome: StepOutcome, ended_rows: NDArray[np.intp]) -> None:
        for i, info in enumerate(infos):
            write_row(info, outcome.info, i)
        for i in ended_rows.tolist():
            write_row(infos[i], outcome.final, i)
            last = infos[i].get("terminal_observation")
            if outcome.feature is not None and last is not None:
                infos[i]["terminal_observation"] = extended(last, outcome.feature[i], self.account.feature)


class VecCostMonitor(MonitorRule, AccountVecEnv):
    """``VecMonitor`` for costs.

    ``infos[i]["episode"]`` gets the undiscounted cost ``"c"``, the cost per step ``"cost_rate"`` and, with a
    limit, ``"violation"``. Entries of a monitor inside are kept; without one, return ``"r"``, length ``"l"`` and
    seconds ``"t"`` are added, from the rewards as they arrive here.

    Args:
        venv: an environment with ``infos[i]["cost"]``, a finite number, at each step.
        limit: an episode that costs more is a violation; not negative.
        buffer_length: number of episodes in ``cost_queue`` and ``violation_queue``.
        filename: of a log like ``VecMonitor``'s with a column ``c``, if any.
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


class VecLagrangianReward(LagrangianRule, AccountVecEnv):
    """``spi_wrappers.LagrangianReward`` for a ``VecEnv``: one multiplier for all its environments.

    Monitors go inside, so that ``info["episode"]["r"]`` is the environment's own return.

    Args:
        venv: an environment with ``infos[i]["cost"]``, a finite number, at each step.
        limit: allowed undiscounted cost of an episode.
        lr: step size of gradient ascent, per unit of cost.
        pid: gains of the PID controller, instead of ``lr``.
        init: initial λ.
        maximum: upper bound of λ.
        normalize: divide by ``1 + λ``.
        multiplier: a ``Multiplier`` or its settings; replaces all arguments except ``normalize``.
    """

    def __init__(
        self,
        venv: VecEnv,
        limit: float | None = None,
        *,
        lr: float | None = None,
        pid: PIDGains | Mapping[str, float] | None = None,
        init: float | None = None,
        maximum: float | None = None,
        normalize: bool = False,
        multiplier: Multiplier | Mapping[str, Any] | None = None,
    ) -> None:
        how: dict[str, Any] = {"lr": lr, "pid": pid, "init": init, "maximum": maximum, "normalize": normalize}
        super().__init__(venv, limit, multiplier=multiplier, **how)


class VecSauteBudget(SauteRule, AccountVecEnv):
    """``spi_wrappers.SauteBudget`` for a ``VecEnv``: a budget for each environment.

    Args:
        venv: an environment with ``infos[i]["cost"]``, a finite number, at each step.
        budget: allowed cost of an episode, above 0.
        gamma: discount of the cost in (0, 1].
        unsafe_reward: reward of a step without budget.

    Raises:
        TypeError: the observations cannot be extended.
    """

    def __init__(
        self, venv: VecEnv, *, budget: float, gamma: float = 1.0, unsafe_reward: float = -1.0
    ) -> None:
        super().__init__(venv, budget=budget, gamma=gamma, unsafe_reward=unsafe_reward)
