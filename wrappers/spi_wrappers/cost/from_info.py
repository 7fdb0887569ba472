"""Costs made from another key of the infos."""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from spi_wrappers.cost.accounts import checks
from spi_wrappers.cost.accounts.account import (
    COST_KEY,
    Account,
    AccountHolder,
    Bools,
    Floats,
    InfoRows,
    RestartOutcome,
    StepOutcome,
    StepRows,
)
from spi_wrappers.cost.accounts.arguments import real
from spi_wrappers.cost.wrapper import CostWrapper

_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
_DROPS = "drops"


class InfoAccount(Account):
    """Makes costs from one key."""

    cost = "makes"
    zero_at_reset = True
    masks_itself = True

    def __init__(
        self, num_rows: int, *, key: str, scale: float, op: str | None, threshold: float | None
    ) -> None:
        super().__init__(num_rows)
        if not isinstance(key, str) or key == COST_KEY:
            raise ValueError(f"key must be the name of an info other than {COST_KEY!r}, got {key!r}.")
        if op is not None and op != _DROPS and op not in _COMPARISONS:
            raise ValueError(f"op must be None or one of {[*_COMPARISONS, _DROPS]}, got {op!r}.")
        if (threshold is not None) != (op in _COMPARISONS):
            raise ValueError(
                f"threshold is needed if op is one of {[*_COMPARISONS]}, and only then, got "
                f"threshold={threshold!r} and op={op!r}."
            )
        self._key, self._op = key, op
        self._scale = real("scale", scale)
        self._threshold = None if threshold is None else real("threshold", float(threshold))
        self._last = np.full(num_rows, -np.inf)  # only for "drops": nothing is below it

    def restart(self, rows: Bools, info: InfoRows) -> RestartOutcome:
        """Begin a new comparison with the last step."""
        if self._op == _DROPS:
            values, there = info.read(self._key)
            known = rows & there if values is not None else np.zeros_like(rows)
            fresh = np.where(known, values, -np.inf) if values is not None else -np.inf
            self._last = np.where(rows, fresh, self._last)
        return super().restart(rows, info)

    def step(self, rows: StepRows) -> StepOutcome:
        """Make the costs of the step."""
        values = numbers_of(rows, self._key, "CostFromInfo")
        if self._op is None:
            costs = np.multiply(self._scale, values)
        elif self._op == _DROPS:
            costs = np.multiply(self._scale, (values < self._last) & rows.live)
            self._last = np.where(rows.live, values, self._last)
        else:
            costs = np.multiply(self._scale, _COMPARISONS[self._op](values, self._threshold) & rows.live)
        return StepOutcome(info={COST_KEY: costs})


def numbers_of(rows: StepRows, key: str, wrapper: str) -> Floats:
    """The finite numbers under ``key``, float64 ``[n]``; 0 in rows that are not live."""
    values, there = rows.info.read(key)
    if (rows.live & ~there).any():
        raise ValueError(
            f"{wrapper} needs info[{key!r}] at every step, but the info has only {sorted(rows.info.keys())}."
        )
    if values is None:
        return np.zeros(len(rows.live))
    return checks.read_vector_cost(values, rows.live, wrapper, f"info[{key!r}]")


class InfoRule(AccountHolder):
    """What both classes ``CostFromInfo`` share."""

    make_account = InfoAccount

    def __init__(
        self, env: Any, key: str, *, scale: float = 1.0, op: str | None = None, threshold: float | None = None
    ) -> None:
        super().__init__(env, key=key, scale=scale, op=op, threshold=threshold)


class CostFromInfo(InfoRule, CostWrapper):
    """Adds ``info["cost"]``, made from another key of the info; 0 at a reset.

    ============================  =====================================================
    ``op``                        cost
    ============================  =====================================================
    ``None``                      ``scale * info[key]``
    ``">"``, ``"<="``, ...        ``scale`` where ``info[key] op threshold``, else 0
    ``"drops"``                   ``scale`` where ``info[key]`` is below the last step's
    ============================  =====================================================

    ``CostFromInfo(env, "lives", op="drops")`` is 1 when a life is lost (the reset's info counts as a step if it
    has the key), ``CostFromInfo(env, "is_healthy", op="==", threshold=0)`` is 1 where that is false.

    Args:
        env: an environment without a cost.
        key: of the info; a number or a boolean at every step.
        scale: factor of the cost.
        op: ``None``, a comparison or ``"drops"``.
        threshold: the right-hand side of the comparison.

    Raises:
        ValueError: at a step, the key is missing or not a finite number, or the environment already has a cost.
    """
