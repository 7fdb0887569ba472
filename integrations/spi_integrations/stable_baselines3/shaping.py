"""Lagrangian rewards and Sauté budgets around any Stable-Baselines3 ``VecEnv``."""

from collections.abc import Mapping
from typing import Any

from stable_baselines3.common.vec_env import VecEnv

from spi_integrations.stable_baselines3.account_env import AccountVecEnv
from spi_wrappers.cost.accounts.multiplier import Multiplier, PIDGains
from spi_wrappers.cost.lagrangian import LagrangianRule
from spi_wrappers.cost.saute import SauteRule


class VecLagrangianReward(LagrangianRule, AccountVecEnv):
    """``spi_wrappers.LagrangianReward`` for a ``VecEnv``: one multiplier for all its environments.

    Monitors go inside, so that ``info["episode"]["r"]`` is the environment's own return.

    Args:
        venv: an environment with ``infos[i]["cost"]`` at each step.
        limit: allowed undiscounted cost of an episode.
        lr: step size of gradient ascent, per unit of cost.
        pid: gains of the PID controller, instead of ``lr``.
        init: initial λ.
        maximum: upper bound of λ.
        normalize: divide by ``1 + λ``.
        multiplier: a ``Multiplier`` or its settings; replaces all arguments except ``normalize``.

    Raises:
        ValueError: at a step, the cost is missing or not a finite number.
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
        venv: an environment with ``infos[i]["cost"]`` at each step.
        budget: allowed cost of an episode, above 0.
        gamma: discount of the cost in (0, 1].
        unsafe_reward: reward of a step without budget.

    Raises:
        TypeError: the observations cannot be extended.
        ValueError: at a step, the cost is missing or not a finite number.
    """

    def __init__(
        self, venv: VecEnv, *, budget: float, gamma: float = 1.0, unsafe_reward: float = -1.0
    ) -> None:
        super().__init__(venv, budget=budget, gamma=gamma, unsafe_reward=unsafe_reward)
