"""What all wrappers that shape the reward share, and the simplest of them."""

from typing import Any

from spi_wrappers.cost.accounts.account import Account, AccountHolder, Floats, StepOutcome, StepRows
from spi_wrappers.cost.accounts.arguments import real
from spi_wrappers.cost.wrapper import CostWrapper

RAW_REWARD_KEY = "reward_raw"


def raw_reward(rows: StepRows) -> dict[str, Floats]:
    """The infos' entry of the environment's reward, unless a wrapper inside has already written it."""
    values, _ = rows.info.read(RAW_REWARD_KEY)
    return {RAW_REWARD_KEY: rows.reward.copy()} if values is None else {}


class PenaltyAccount(Account):
    """Subtracts the cost at a fixed price."""

    def __init__(self, num_rows: int, *, coef: float) -> None:
        super().__init__(num_rows)
        self.coef = real("coef", coef, at_least=0.0)

    def step(self, rows: StepRows) -> StepOutcome:
        """Shape the reward."""
        return StepOutcome(raw_reward(rows), reward=rows.reward - self.coef * rows.cost)


class PenaltyRule(AccountHolder):
    """What both classes ``CostPenalty`` share."""

    make_account = PenaltyAccount

    def __init__(self, env: Any, *, coef: float) -> None:
        super().__init__(env, coef=coef)


class CostPenalty(PenaltyRule, CostWrapper):
    """The reward becomes ``reward - coef * cost``, at a fixed price.

    ``info["reward_raw"]`` is the environment's reward.

    Args:
        env: an environment with ``info["cost"]``.
        coef: price of one unit of cost, at least 0.
    """
