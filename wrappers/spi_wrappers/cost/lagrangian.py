"""The Lagrangian reward: cost at a price that rises while episodes cost too much."""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from spi_wrappers.cost.accounts.account import Account, Bools, InfoRows, RestartOutcome, StepOutcome, StepRows
from spi_wrappers.cost.accounts.arguments import boolean
from spi_wrappers.cost.accounts.multiplier import Multiplier, PIDGains
from spi_wrappers.cost.shaping import raw_reward
from spi_wrappers.cost.wrapper import CostWrapper


class LagrangianAccount(Account):
    """Prices the cost, and reports what episodes cost to the multiplier; see ``LagrangianReward``."""

    def __init__(
        self, num_rows: int, *, multiplier: Multiplier | Mapping[str, Any], normalize: bool = False
    ) -> None:
        super().__init__(num_rows)
        self.multiplier = read_multiplier(multiplier)
        self.normalize = boolean("normalize", normalize)
        self.costs = np.zeros(num_rows)

    def restart(self, rows: Bools, info: InfoRows) -> RestartOutcome:
        """See ``Account``."""
        self.costs = np.where(rows, 0.0, self.costs)
        return RestartOutcome()

    def step(self, rows: StepRows) -> StepOutcome:
        """See ``Account``."""
        price = self.multiplier.value
        self.costs = self.costs + rows.cost
        reward = rows.reward - price * rows.cost
        if self.normalize:
            reward = reward / (1 + price)
        if len(rows.ended_rows):
            self.multiplier.observe(self.costs[rows.ended_rows])
        return StepOutcome(
            {"lagrange_multiplier": np.full(self.num_rows, price), **raw_reward(rows)}, reward=reward
        )


def read_multiplier(multiplier: Multiplier | Mapping[str, Any]) -> Multiplier:
    """A multiplier, or a new one by its settings.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(multiplier, Multiplier):
        return multiplier
    if isinstance(multiplier, Mapping):
        return Multiplier(**multiplier)
    raise TypeError(f"multiplier must be a Multiplier or its settings, got {multiplier!r}.")


def choose_multiplier(
    limit: float | None, how: Mapping[str, Any], multiplier: Multiplier | Mapping[str, Any] | None
) -> Multiplier:
    """The multiplier that ``LagrangianReward``'s arguments ask for.

    Args:
        limit: of a new multiplier.
        how: the other arguments of a new one; those that were not given are ``None``.
        multiplier: an existing one, or its settings.

    Raises:
        TypeError: there is neither ``limit`` nor ``multiplier``, or one has the wrong type.
        ValueError: there is ``multiplier`` and something that belongs to a new one.
    """
    given = {name: value for name, value in {"limit": limit, **how}.items() if value is not None}
    if multiplier is None:
        if limit is None:
            raise TypeError("LagrangianReward needs limit, or multiplier=Multiplier(limit, ...).")
        return Multiplier(**given)
    if given:
        raise ValueError(f"{sorted(given)} belong to the Multiplier if there is multiplier=Multiplier(...).")
    return read_multiplier(multiplier)


class MultiplierAccess:
    """The multiplier of a ``LagrangianReward``, single or vector, for callbacks."""

    account: Any

    @property
    def multiplier(self) -> Multiplier:
        """The multiplier; shared where it was given to several wrappers."""
        multiplier: Multiplier = self.account.multiplier
        return multiplier

    def set_multiplier(self, value: float, frozen: bool | None = None) -> None:
        """Put λ at ``value`` from the next step on.

        Args:
            value: λ.
            frozen: ``True`` to keep it there, ``False`` to let it move again, ``None`` to leave that as it is.

        Raises:
            TypeError: ``value`` is no number or ``frozen`` no truth value.
            ValueError: ``value`` is negative, not finite or above the maximum.
        """
        if frozen is not None:
            boolean("frozen", frozen)
        self.multiplier.set(value)
        if frozen is not None:
            self.multiplier.frozen = frozen


class LagrangianReward(MultiplierAccess, CostWrapper):
    """The reward becomes ``r - λ c``, with a multiplier λ that is learned from what episodes cost.

    λ moves when an episode ends, by its undiscounted cost, and prices the steps after that one; see
    ``Multiplier`` for how. ``info["lagrange_multiplier"]`` is the λ of the step, ``info["reward_raw"]`` the
    environment's reward.

    Args:
        env: an environment that gives ``info["cost"]``.
        limit: allowed undiscounted cost of an episode, at least 0.
        lr: step size of gradient ascent, per unit of cost (0.05).
        pid: ``PIDGains`` or a mapping of them by name, instead of ``lr``.
        init: λ at first (0).
        maximum: upper bound of λ (none).
        normalize: divide by ``1 + λ``, so that rewards keep their scale.
        multiplier: in place of all but ``normalize``: a ``Multiplier``, which several environments of one
            process may share, or its ``settings()``. ``env.spec`` records settings: what is made from it
            has a multiplier of its own.

    Raises:
        TypeError: an argument has the wrong type, or there is neither ``limit`` nor ``multiplier``.
        ValueError: an argument is out of range; arguments exclude each other; costs are normalized inside;
            or at a step: the cost is missing, not one number, NaN or infinite.
    """

    make_account = LagrangianAccount

    def __init__(
        self,
        env: gym.Env[Any, Any],
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
        # Recorded first: the base class would record a deep copy of the object.
        gym.utils.RecordConstructorArgs.__init__(self, multiplier=chosen.settings(), normalize=normalize)
        super().__init__(env, multiplier=chosen, normalize=normalize)
