"""The arithmetic of one wrapper over n rows, without environments.

A single environment has one row, a vector environment one for each copy. ``CostWrapper`` and ``CostVectorWrapper``
translate between environments and rows; an account only sees transitions and restarts, whatever the autoreset mode.
"""

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
        """The values under ``key``, ``[n, ...]`` (``None`` if no row has one), and which rows have one."""

    def keys(self) -> list[str]:
        """The keys that at least one row has."""

    def whole(self) -> dict[str, Any]:
        """The infos as the environment returns them: those of one environment, or a vector's with its masks."""


class StepRows(NamedTuple):
    """One step of n rows.

    Attributes:
        reward: ``[n]``; 0 in rows that are not live.
        terminated: ``[n]``.
        truncated: ``[n]``.
        cost: ``[n]``, read from the infos and checked if the account has ``cost = "reads"``, else zeros; 0 in
            rows that are not live.
        live: ``[n]``, which rows made a transition. The environment reset the others instead of stepping them
            (``NEXT_STEP``); their account has been restarted and must not move.
        ended: ``[n]``, ``terminated | truncated``.
        ended_rows: indices of ``ended``, usually none.
        info: infos of the transition, including an episode's last one.
        action: as given to ``step``, unbatched in a single environment.
        observation: where the transition began; ``None`` unless the account ``needs_observation``.
        next_observation: where it led, the true final one where an episode ended; ``None`` likewise.
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
    """What an account makes of a step; ``None`` leaves a signal unchanged.

    Attributes:
        info: written into the infos of all live rows; ``{"cost": ...}`` sets or replaces the cost.
        final: written only where an episode ended. A dictionary is merged into the existing one
            (``{"episode": {"c": ...}}``).
        reward: ``[n]``.
        terminated: ``[n]``, may end running episodes.
        truncated: ``[n]``, likewise.
        feature: ``[n, k]``, appended to the next observations.
    """

    info: Entries = _NOTHING
    final: Entries = _NOTHING
    reward: Floats | None = None
    terminated: Bools | None = None
    truncated: Bools | None = None
    feature: NDArray[Any] | None = None


class RestartOutcome(NamedTuple):
    """What an account makes of new episodes: infos of the rows that restart, and features ``[n, k]`` of all rows."""

    info: Entries = _NOTHING
    feature: NDArray[Any] | None = None


#: The outcomes that change nothing.
UNCHANGED = StepOutcome()
RESTARTED = RestartOutcome()


class Feature(NamedTuple):
    """Numbers that an account appends to each observation: the key in dictionaries, and bounds ``[k]``."""

    name: str
    low: Floats
    high: Floats


class Account:
    """Base class of accounts, made by ``cls(num_rows, **the wrapper's keyword arguments)``.

    Attributes:
        cost: ``"reads"`` needs a cost at each step (missing, NaN or misshapen ones are refused), ``"makes"``
            refuses environments that already have one, ``"ignores"`` does neither.
        needs_observation: whether ``StepRows`` holds observations.
        may_end: whether it may end episodes; under autoreset that needs an environment with ``reset_mask``.
        zero_at_reset: whether ``restart`` reports a cost of 0.
        masks_itself: whether the entries of ``step`` need neither masks nor checks, which saves time: ``info``
            only has arrays ``[n]`` for keys that a restart has too, equal to the restart's in rows that are not
            live; ``final`` is 0 in rows whose episode continues; costs are finite float64.
        feature: what it appends to observations.
    """

    cost: str = "reads"
    needs_observation: bool = False
    may_end: ClassVar[bool] = False
    zero_at_reset: ClassVar[bool] = False
    masks_itself: bool = False
    feature: Feature | None = None

    def __init__(self, num_rows: int) -> None:
        """Take the number of rows, n."""
        self.num_rows = num_rows

    def clear(self, rows: Bools) -> None:
        """Forget the old episodes where ``rows``, bool ``[n]``, is true."""

    def restart(self, rows: Bools, info: InfoRows) -> RestartOutcome:
        """Begin new episodes where ``rows``, bool ``[n]``, is true."""
        self.clear(rows)
        return RestartOutcome({COST_KEY: np.zeros(self.num_rows)}) if self.zero_at_reset else RESTARTED

    def step(self, rows: StepRows) -> StepOutcome:
        """Account for one step. The arrays of ``rows`` must not be modified."""
        return UNCHANGED


class SummingAccount(Account):
    """Base of accounts that sum costs over the running episodes, in ``costs``, ``[n]``."""

    def __init__(self, num_rows: int) -> None:
        """Take the number of rows, n."""
        super().__init__(num_rows)
        self.costs = np.zeros(num_rows)

    def clear(self, rows: Bools) -> None:
        """Begin new sums."""
        self.costs = np.where(rows, 0.0, self.costs)


MakeAccount: TypeAlias = Callable[..., Account]


class AccountHolder:
    """Base of what runs an account: wrappers of single, vector and Stable-Baselines3 environments.

    A subclass of this, such as ``ClipRule``, has the account's class and the constructor that a wrapper's single and
    vector classes share: ``class ClipCost(ClipRule, CostWrapper)``.
    """

    make_account: ClassVar[MakeAccount] = Account
    account: Any

    def __init__(self, env: Any, **kwargs: Any) -> None:
        """Take the environment, and the account's keyword arguments."""
        raise NotImplementedError

    def build_account(self, num_rows: int, kwargs: dict[str, Any]) -> Account:
        """Make the account from the wrapper's keyword arguments."""
        return type(self).make_account(num_rows, **kwargs)

    def recorded(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The keyword arguments to record in ``env.spec``."""
        return kwargs

    @property
    def _name(self) -> str:
        return type(self).__name__
