"""The accounts of ``spi_wrappers`` around any Stable-Baselines3 ``VecEnv``."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from spi_integrations.stable_baselines3.episode_costs import Infos
from spi_wrappers.cost.accounts import checks
from spi_wrappers.cost.accounts.account import AccountHolder, StepOutcome, StepRows
from spi_wrappers.cost.accounts.features import extended, extended_space
from spi_wrappers.cost.accounts.infos import write_row


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
        venv: an environment with ``infos[i]["cost"]`` at each step.
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
