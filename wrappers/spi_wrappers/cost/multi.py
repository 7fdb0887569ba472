"""Several costs at once, each with its own limit."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from spi_wrappers.cost.accounts import account, checks
from spi_wrappers.cost.accounts.arguments import real
from spi_wrappers.cost.from_info import InfoAccount
from spi_wrappers.cost.wrapper import CostWrapper

TERMS_KEY = "cost_terms"
SUM, WORST = "sum", "worst"

#: How a cost is made: a key of the info, or keyword arguments of ``CostFromInfo``.
Term = str | Mapping[str, Any]
_TERM_DEFAULTS: dict[str, Any] = {"scale": 1.0, "op": None, "threshold": None}


class MultiAccount(account.Account):
    """Keeps one sum for each cost."""

    def __init__(
        self,
        num_rows: int,
        *,
        terms: Mapping[str, Term] | None,
        limits: Mapping[str, float] | None,
        combine: str,
    ) -> None:
        super().__init__(num_rows)
        if combine not in (SUM, WORST):
            raise ValueError(f"combine must be {SUM!r} or {WORST!r}, got {combine!r}.")
        self.combine = combine
        self.cost = "reads" if terms is None else "makes"
        self._makers = None if terms is None else _read_terms(num_rows, terms)
        self._limits = _read_limits(limits, None if terms is None else [*terms], combine)
        self._sums: dict[str, account.Floats] = {name: np.zeros(num_rows) for name in self._makers or ()}
        self._worst = np.zeros(num_rows)

    def restart(self, rows: account.Bools, info: account.InfoRows) -> account.RestartOutcome:
        """Begin new sums."""
        self._sums = {name: np.where(rows, 0.0, total) for name, total in self._sums.items()}
        self._worst = np.where(rows, 0.0, self._worst)
        if self._makers is None:
            return account.RestartOutcome()
        for maker in self._makers.values():
            maker.restart(rows, info)
        nothing = np.zeros(self.num_rows)
        return account.RestartOutcome(
            {account.COST_KEY: nothing, TERMS_KEY: dict.fromkeys(self._makers, nothing)}
        )

    def step(self, rows: account.StepRows) -> account.StepOutcome:
        """Make or read the costs of the step, and add them to the sums."""
        terms = self._read(rows) if self._makers is None else self._make(self._makers, rows)
        self._sums = {**self._sums, **{name: self._sum(name) + cost for name, cost in terms.items()}}
        info: dict[str, Any] = {account.COST_KEY: self._combined(terms)}
        if self._makers is not None:
            info[TERMS_KEY] = terms
        info["cost_sums"] = self._sums
        if self._limits:
            info["violations"] = {name: self._sum(name) > limit for name, limit in self._limits.items()}
        return account.StepOutcome(info)

    def _combined(self, terms: Mapping[str, account.Floats]) -> account.Floats:
        if self.combine == SUM:
            return sum(terms.values(), np.zeros(self.num_rows))
        if any((cost < 0).any() for cost in terms.values()):
            raise ValueError(
                f"MultiCost with combine={WORST!r} needs costs that are not negative, got {terms}."
            )
        counted = self._limits or dict.fromkeys(self._sums, 1.0)
        shares = [self._sum(name) / limit for name, limit in counted.items()]
        before, self._worst = self._worst, np.max([*shares, np.zeros(self.num_rows)], axis=0)
        return self._worst - before

    def _sum(self, name: str) -> account.Floats:
        return self._sums.get(name, np.zeros(self.num_rows))

    def _make(self, makers: Mapping[str, InfoAccount], rows: account.StepRows) -> dict[str, account.Floats]:
        costs = {}
        for name, maker in makers.items():
            try:
                costs[name] = np.where(rows.live, maker.step(rows).info[account.COST_KEY], 0.0)
            except ValueError as error:
                raise ValueError(f"MultiCost, cost {name!r}: {error}") from error
        return costs

    def _read(self, rows: account.StepRows) -> dict[str, account.Floats]:
        """The costs that the environment reports itself, the same ones at every step."""
        terms = rows.info.whole().get(TERMS_KEY, {})
        if not isinstance(terms, Mapping):
            raise ValueError(f"MultiCost needs info[{TERMS_KEY!r}] to be a dictionary, got {terms!r}.")
        names = [name for name in terms if not (name.startswith("_") and name[1:] in terms)]
        costs = {
            name: self._read_one(name, terms[name], terms.get(f"_{name}", True), rows.live) for name in names
        }
        known = {*self._sums} or {*names, *self._limits}
        if rows.live.any() and (known != {*names} or not names):
            raise ValueError(
                f"MultiCost without terms needs the same costs in info[{TERMS_KEY!r}] at every step, got "
                f"{sorted(names)} instead of {sorted(known) or 'any'}. Pass "
                "terms={name: key of the info} if they have other keys."
            )
        return costs

    def _read_one(self, name: str, values: Any, there: Any, live: account.Bools) -> account.Floats:
        if not (there | ~live).all():
            raise ValueError(f"MultiCost needs info[{TERMS_KEY!r}][{name!r}] at every step of every row.")
        numbers = np.atleast_1d(np.asarray(values))
        return checks.read_vector_cost(numbers, live, "MultiCost", f"info[{TERMS_KEY!r}][{name!r}]")


def _read_terms(num_rows: int, terms: Mapping[str, Term]) -> dict[str, InfoAccount]:
    if not isinstance(terms, Mapping) or not terms:
        raise TypeError(f"terms must be a mapping such as {{'speed': 'cost_velocity'}}, got {terms!r}.")
    makers = {}
    for name, term in terms.items():
        if not isinstance(term, str | Mapping):
            raise TypeError(
                f"terms[{name!r}] must be a key of the info or keyword arguments of CostFromInfo, got {term!r}."
            )
        try:
            given = {"key": term} if isinstance(term, str) else term
            makers[name] = InfoAccount(num_rows, **{**_TERM_DEFAULTS, **given})
        except (TypeError, ValueError) as error:
            raise type(error)(f"terms[{name!r}]: {error}") from error
    return makers


def _read_limits(
    limits: Mapping[str, float] | None, names: list[str] | None, combine: str
) -> dict[str, float]:
    if limits is None:
        return {}
    if not isinstance(limits, Mapping):
        raise TypeError(f"limits must be a mapping from names to numbers, got {limits!r}.")
    unknown = set(limits) - set(names if names is not None else limits)
    if unknown:
        raise ValueError(f"limits has names without a term: {sorted(unknown)}; terms has {names}.")
    least = {"above": 0.0} if combine == WORST else {"at_least": 0.0}
    return {name: real(f"limits[{name!r}]", limit, **least) for name, limit in limits.items()}


class MultiRule(account.AccountHolder):
    """What both classes ``MultiCost`` share."""

    make_account = MultiAccount
    account: MultiAccount

    def __init__(
        self,
        env: Any,
        terms: Mapping[str, Term] | None = None,
        *,
        limits: Mapping[str, float] | None = None,
        combine: Literal["sum", "worst"] = "sum",
    ) -> None:
        super().__init__(env, terms=terms, limits=limits, combine=combine)

    @property
    def combine(self) -> str:
        """How the cost is made from its terms."""
        return self.account.combine


class MultiCost(MultiRule, CostWrapper):
    """Several named costs, combined into one ``info["cost"]``.

    ``info["cost_terms"]`` holds the costs by name, and ``info["cost"]`` is their sum. With ``combine="worst"``
    an episode's cost is that of its most violated constraint: with C_i the sum of the i-th cost so far and d_i its
    limit, ``info["cost"]`` is what this step adds to ``max_i C_i / d_i``. An episode then keeps all limits if and
    only if it costs at most 1. Costs without a limit do not count there, unless there are no limits: then all
    count, with d_i = 1. ``info["cost_sums"]`` has the C_i by name, and with limits ``info["violations"]`` says
    which of them are exceeded; at an episode's last step they are the episode's.

    Args:
        env: an environment; without a cost if there are ``terms``.
        terms: by name, a key of the info or a mapping of the keyword arguments of ``CostFromInfo``, such as
            ``{"key": "x_velocity", "op": ">", "threshold": 2.0}``. By default the environment's own
            ``info["cost_terms"]``.
        limits: by name, the allowed undiscounted cost of an episode; not negative, and above 0 for
            ``"worst"``.
        combine: ``"sum"`` or ``"worst"``.

    Raises:
        ValueError: a limit has no cost; or at a step: a cost is missing or not a finite number, negative under
            ``"worst"``, or the environment already has a cost.
    """
