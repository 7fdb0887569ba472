"""Rewards shaped by the cost of a vector environment."""

from collections.abc import Mapping
from typing import Any

from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv

from spi_wrappers.cost.accounts.multiplier import Multiplier, PIDGains
from spi_wrappers.cost.lagrangian import LagrangianAccount, MultiplierAccess, choose_multiplier
from spi_wrappers.cost.saute import SauteAccount
from spi_wrappers.cost.shaping import PenaltyAccount
from spi_wrappers.cost.vector_wrapper import CostVectorWrapper


class SauteBudget(CostVectorWrapper):
    """``spi_wrappers.SauteBudget`` for vector environments: a budget for each row.

    ``infos["final_obs"]`` shows what was left at an episode's end, the observations what the new one has.
    """

    make_account = SauteAccount

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        *,
        budget: float,
        gamma: float = 1.0,
        unsafe_reward: float = -1.0,
    ) -> None:
        super().__init__(env, budget=budget, gamma=gamma, unsafe_reward=unsafe_reward)


class LagrangianReward(MultiplierAccess, CostVectorWrapper):
    """``spi_wrappers.LagrangianReward`` for vector environments: one multiplier for all rows.

    All rows of a step have the same λ. Where episodes ended in a step, λ moves once, by their mean cost, and
    the next step has the new one. A vector environment of wrapped single ones does the same if they share one
    ``Multiplier(limit, manual=True)`` whose ``update()`` is called after every step of the vector environment;
    without ``manual`` their λ would move between the rows of a step.
    """

    make_account = LagrangianAccount

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        limit: float | None = None,
        *,
        lr: float | None = None,
        pid: PIDGains | Mapping[str, float] | None = None,
        init: float | None = None,
        maximum: float | None = None,
        normalize: bool = False,
        multiplier: Multiplier | Mapping[str, Any] | None = None,
    ) -> None:
        how = {"lr": lr, "pid": pid, "init": init, "maximum": maximum}
        chosen = choose_multiplier(limit, how, multiplier)
        RecordConstructorArgs.__init__(self, multiplier=chosen.settings(), normalize=normalize)
        super().__init__(env, multiplier=chosen, normalize=normalize)


class CostPenalty(CostVectorWrapper):
    """``spi_wrappers.CostPenalty`` for vector environments."""

    make_account = PenaltyAccount

    def __init__(self, env: VectorEnv[Any, Any, Any], *, coef: float) -> None:
        super().__init__(env, coef=coef)
