"""The Lagrangian reward: cost at a price that rises while episodes cost too much."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from spi_wrappers.cost.accounts.account import AccountHolder, StepOutcome, StepRows, SummingAccount
from spi_wrappers.cost.accounts.arguments import boolean
from spi_wrappers.cost.accounts.multiplier import Multiplier, PIDGains
from spi_wrappers.cost.shaping import raw_reward
from spi_wrappers.cost.wrapper import CostWrapper


class LagrangianAccount(SummingAccount):
    """Prices the cost, and tells the multiplier what episodes cost."""

    def __init__(self, num_rows: int, *, multiplier: Multiplier, normalize: bool) -> None:
        super().__init__(num_rows)
        self.multiplier = multiplier
        self.normalize = boolean("normalize", normalize)

    def step(self, rows: StepRows) -> StepOutcome:
        """Shape the reward, and report the episodes that end."""
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


def choose_multiplier(
    limit: float | None, how: Mapping[str, Any], multiplier: Multiplier | Mapping[str, Any] | None
) -> Multiplier:
    """The multiplier that ``LagrangianReward``'s arguments ask for: an existing one, or one made from settings.

    ``limit`` and ``how``, with ``None`` where not given, are arguments of a new one.
    """
    given = {name: value for name, value in {"limit": limit, **how}.items() if value is not None}
    if multiplier is None:
        if limit is None:
            raise TypeError("LagrangianReward needs limit, or multiplier=Multiplier(limit, ...).")
        return Multiplier(**given)
    if given:
        raise ValueError(
            f"{sorted(given)} belong to the Multiplier: set them there, not next to multiplier=."
        )
    if isinstance(multiplier, Multiplier):
        return multiplier
    if isinstance(multiplier, Mapping):
        return Multiplier(**multiplier)
    raise TypeError(f"multiplier must be a Multiplier or its settings, got {multiplier!r}.")


class LagrangianRule(AccountHolder):
    """What all classes ``LagrangianReward`` share: the constructor, and access to the multiplier."""

    make_account = LagrangianAccount
    account: LagrangianAccount

    def __init__(
        self,
        env: Any,
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
        super().__init__(env, multiplier=chosen, normalize=normalize)

    def recorded(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Record the multiplier by its settings, which can be JSON."""
        return {**kwargs, "multiplier": kwargs["multiplier"].settings()}

    @property
    def multiplier(self) -> Multiplier:
        """The multiplier; shared if it was passed to several wrappers."""
        return self.account.multiplier

    def set_multiplier(self, value: float, frozen: bool | None = None) -> None:
        """Set λ from the next step on.

        Args:
            value: λ.
            frozen: ``True`` to keep it there, ``False`` to let it move again, ``None`` to leave that unchanged.

        Raises:
            ValueError: ``value`` is negative, not finite or above the maximum.
        """
        if frozen is not None:
            boolean("frozen", frozen)
        self.multiplier.set(value)
        if frozen is not None:
            self.multiplier.frozen = frozen


class LagrangianReward(LagrangianRule, CostWrapper):
    """The reward becomes ``r - λ c``, with a multiplier λ that is learned from the costs of episodes.

    λ moves when an episode ends, by its undiscounted cost, and applies from the next step on; see ``Multiplier``
    for how. ``info["lagrange_multiplier"]`` is the λ of the step, ``info["reward_raw"]`` the environment's reward.

    Args:
        env: an environment with ``info["cost"]``.
        limit: allowed undiscounted cost of an episode, at least 0.
        lr: step size of gradient ascent, per unit of cost (0.05).
        pid: ``PIDGains`` or a mapping of them by name, instead of ``lr``.
        init: initial λ (0).
        maximum: upper bound of λ (none).
        normalize: divide by ``1 + λ``, so that rewards keep their scale.
        multiplier: replaces all arguments except ``normalize``: a ``Multiplier``, which several environments of
            one process may share, or its ``settings()``. ``env.spec`` records settings, so what is made from it
            has its own multiplier.

    Raises:
        TypeError: neither ``limit`` nor ``multiplier`` is given.
        ValueError: arguments exclude each other; costs are normalized inside.
    """
