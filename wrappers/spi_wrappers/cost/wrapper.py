"""The base class of cost wrappers of single environments: an account with one row."""

import copy
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from spi_wrappers.cost.accounts import checks
from spi_wrappers.cost.accounts.account import COST_KEY, AccountHolder, StepRows
from spi_wrappers.cost.accounts.features import extended, extended_space
from spi_wrappers.cost.accounts.infos import SingleInfo, write_row
from spi_wrappers.cost.accounts.order import refuse_wrong_order

_ALL = np.ones(1, np.bool_)
_NO_COST = np.zeros(1)


class CostWrapper(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs, AccountHolder):
    """An environment whose steps go through an account.

    Args:
        env: the environment.
        **kwargs: the wrapper's keyword arguments, recorded in ``env.spec`` and passed to the account.

    Raises:
        ValueError: at a step of a wrapper that needs a cost: ``info["cost"]`` is missing, not one number, NaN or
            infinite; of one that makes a cost: there already is one.
    """

    def __init__(self, env: gym.Env[Any, Any], **kwargs: Any) -> None:
        refuse_wrong_order(env, self._name)
        RecordConstructorArgs.__init__(self, **self.recorded(kwargs))
        gym.Wrapper.__init__(self, env)
        self.account = self.build_account(1, kwargs)
        self._observation: Any = None
        if self.account.feature is not None:
            self.observation_space = extended_space(env.observation_space, self.account.feature, self._name)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset the environment and its account."""
        observation, info = self.env.reset(seed=seed, options=options)
        outcome = self.account.restart(_ALL, SingleInfo(info))
        self._keep(observation)
        write_row(info, outcome.info, 0)
        return self._with_feature(observation, outcome.feature), info

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step the environment and account for the transition."""
        observation, reward, terminated, truncated, info = self.step_inside(action)
        ended = np.array([bool(terminated or truncated)])
        rows = StepRows(
            reward=np.array([float(reward)]),
            terminated=np.array([bool(terminated)]),
            truncated=np.array([bool(truncated)]),
            cost=self._cost(info),
            live=_ALL,
            ended=ended,
            ended_rows=ended.nonzero()[0],
            info=SingleInfo(info),
            action=action,
            observation=self._observation,
            next_observation=observation,
        )
        outcome = self.account.step(rows)
        if outcome.terminated is not None:
            terminated = bool(outcome.terminated[0])
        if outcome.truncated is not None:
            truncated = bool(outcome.truncated[0])
        if outcome.reward is not None:
            reward = float(outcome.reward[0])
        self._keep(observation)
        write_row(info, outcome.info, 0)
        if terminated or truncated:
            write_row(info, outcome.final, 0)
        return self._with_feature(observation, outcome.feature), reward, terminated, truncated, info

    def step_inside(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step the wrapped environment."""
        return self.env.step(action)

    def _cost(self, info: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
        if self.account.cost == "makes" and COST_KEY in info:
            raise checks.double_cost(self._name)
        return np.array([checks.cost_in(info, self._name)]) if self.account.cost == "reads" else _NO_COST

    def _keep(self, observation: Any) -> None:
        if self.account.needs_observation:  # a copy: some environments reuse the array
            self._observation = copy.deepcopy(observation)

    def _with_feature(self, observation: Any, values: Any) -> Any:
        return observation if values is None else extended(observation, values[0], self.account.feature)
