"""What an account is: the arithmetic of one wrapper over n rows, knowing nothing of environments.

A single environment has one row, a vector environment one for each copy. The two base classes
(``single.CostWrapper`` and ``vector.CostVectorWrapper``) translate between environments and rows; an account
sees transitions and restarts only, whatever the autoreset mode.
"""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

COST_KEY = "cost"

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]

#: What is written into the infos: arrays whose first axis is the rows, or dictionaries of them.
Entries: TypeAlias = Mapping[str, Any]

_NOTHING: Entries = MappingProxyType({})


class InfoRows(Protocol):
    """The infos of a transition or of a reset, row by row."""

    def read(self, key: str) -> tuple[Any, Bools]:
        """Values under ``key``, first axis n, and bool ``[n]``: which rows have them (``None`` if none has)."""

    def keys(self) -> list[str]:
        """The keys that some row has."""

    def whole(self) -> dict[str, Any]:
        """All of it, as the environment gives infos: a single one's, or a vector's with its masks."""


class StepRows(NamedTuple):
    """One step of n rows.

    Attributes:
        reward: ``[n]``; 0 in rows that are not live.
        terminated: ``[n]``.
        truncated: ``[n]``.
        cost: ``[n]``, read from the infos and checked if the account has ``cost = "reads"``, else zeros; 0 in
            rows that are not live.
        live: ``[n]``, which rows made a transition. The others were reset by the environment in place of a
            step (``NEXT_STEP``); their account was restarted before, and must not move.
        ended: ``[n]``, ``terminated | truncated``.
        ended_rows: the indices of ``ended``, most of the time none.
        info: the infos of the transition, of an episode's last one as well.
        action: as given to ``step``: unbatched in a single environment.
        observation: what the transition began with; ``None`` unless the account ``needs_observation``.
        next_observation: what it led to, the true final one where an episode ended; ``None`` likewise.
    """

    reward: Floats
    terminated: Bools
    truncated: Bools
    cost: Floats
    live: Bools
    ended: Bools
    ended_rows: NDArray[np.intp]
    info: InfoRows
    action: Any = None
    observation: Any = None
    next_observation: Any = None


class StepOutcome(NamedTuple):
    """What an account makes of a step; ``None`` leaves a signal as it is.

    Attributes:
        info: written into the infos of all live rows; ``{"cost": ...}`` sets or replaces the cost.
        final: written into the infos of rows whose episode ended only. A dictionary joins the one that is
            there already (``{"episode": {"c": ...}}``).
        reward: ``[n]``.
        terminated: ``[n]``, may end episodes that go on.
        truncated: ``[n]``, likewise.
        feature: ``[n, k]``, appended to the observations that the transitions led to.
    """

    info: Entries = _NOTHING
    final: Entries = _NOTHING
    reward: Floats | None = None
    terminated: Bools | None = None
    truncated: Bools | None = None
    feature: NDArray[Any] | None = None


class RestartOutcome(NamedTuple):
    """What an account makes of new episodes.

    Attributes:
        info: written into the infos of the rows that restart.
        feature: ``[n, k]``, of all rows.
    """

    info: Entries = _NOTHING
    feature: NDArray[Any] | None = None


#: The outcomes that change nothing.
UNCHANGED = StepOutcome()
RESTARTED = RestartOutcome()


class Feature(NamedTuple):
    """Numbers that an account appends to each observation.

    Attributes:
        name: the new key, if observations are dictionaries.
        low: ``[k]``, lower bounds.
        high: ``[k]``, upper bounds.
    """

    name: str
    low: Floats
    high: Floats


class Account:
    """Base class of accounts. A subclass is made by ``cls(num_rows, **the wrapper's keyword arguments)``.

    Attributes:
        cost: ``"reads"`` needs a cost at each step (missing, NaN or misshapen ones are refused, by the base
            classes), ``"makes"`` refuses environments that have one already, ``"ignores"`` does neither.
        needs_observation: whether ``StepRows`` shall hold observations.
        may_end: whether it may end episodes; under autoreset that needs an environment with ``reset_mask``.
        masks_itself: whether ``step`` gives entries that need neither masks nor checks, which saves time: ``info``
            has no more than arrays ``[n]`` for keys that a restart gives as well, and is a restart's in rows that
            are not live, ``final`` is 0 in rows whose episode goes on, costs are finite float64.
        feature: what it appends to observations.
    """

    cost: str = "reads"
    needs_observation: bool = False
    may_end: ClassVar[bool] = False
    masks_itself: bool = False
    feature: Feature | None = None

    def __init__(self, num_rows: int) -> None:
        """Take the number of rows, n."""
        self.num_rows = num_rows

    def restart(self, rows: Bools, info: InfoRows) -> RestartOutcome:
        """New episodes begin where ``rows``, bool ``[n]``, is true; clear what belongs to the old ones."""
        return RESTARTED

    def step(self, rows: StepRows) -> StepOutcome:
        """Account for one step. Arrays of ``rows`` must not be written into."""
        return UNCHANGED


MakeAccount: TypeAlias = Callable[..., Account]


@functools.lru_cache(maxsize=64)
def zero_cost(num_rows: int) -> RestartOutcome:
    """A restart that shows a cost of 0."""
    zeros = np.zeros(num_rows)
    zeros.flags.writeable = False
    return RestartOutcome(info={COST_KEY: zeros})
