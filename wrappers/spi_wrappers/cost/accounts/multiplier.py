"""Lagrange multipliers for a limit on the episode cost, by gradient ascent or PID control."""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spi_wrappers.cost.accounts.arguments import boolean, real, whole

DEFAULT_LR = 0.05


@dataclass(frozen=True, kw_only=True)
class PIDGains:
    """Gains of the PID controller (Stooke et al. 2020, arXiv:2007.03964, algorithm 2).

    Attributes:
        kp: proportional gain, per unit of cost above the limit.
        ki: integral gain, per unit of cost above the limit and update.
        kd: derivative gain, per unit of rise of the cost.
        ema_p: smoothing of the proportional error in [0, 1): the weight of the past.
        ema_d: smoothing of the cost in the derivative, likewise.
        delay: number of updates over which the rise is measured.

    Raises:
        ValueError: a gain is negative, all are 0, a smoothing is outside [0, 1), or ``delay`` is below 1.
    """

    kp: float = 0.1
    ki: float = 0.01
    kd: float = 0.01
    ema_p: float = 0.95
    ema_d: float = 0.95
    delay: int = 10

    def __post_init__(self) -> None:
        for name in ("kp", "ki", "kd"):
            real(f"pid.{name}", getattr(self, name), at_least=0.0)
        for name in ("ema_p", "ema_d"):
            real(f"pid.{name}", getattr(self, name), at_least=0.0, below=1.0)
        whole("pid.delay", self.delay, at_least=1)
        if self.kp == self.ki == self.kd == 0:
            raise ValueError("pid: kp, ki and kd are all 0, so the multiplier would never move.")

    @classmethod
    def read(cls, pid: "PIDGains | Mapping[str, float]") -> "PIDGains":
        """Gains from a mapping of some of them by name, or as they are."""
        if isinstance(pid, cls):
            return pid
        if not isinstance(pid, Mapping):
            raise TypeError(f"pid must be PIDGains or a mapping such as {{'kp': 0.1}}, got {pid!r}.")
        allowed = [field.name for field in fields(cls)]
        unknown = set(pid) - set(allowed)
        if unknown:
            raise ValueError(f"pid has unknown gains {sorted(map(str, unknown))}; allowed are {allowed}.")
        return cls(**pid)  # type: ignore[arg-type]


class Multiplier:
    """The price λ of one unit of cost, which rises while episodes cost more than the limit.

    Without ``pid``, λ follows gradient ascent on the dual: ``λ <- clip(λ + lr (J - limit), 0, maximum)``, where J
    is the mean undiscounted cost of the episodes that ended since the last update. With ``pid`` (Stooke et al.
    2020, algorithm 2) and ``Δ = J - limit``:

        P <- ema_p P + (1 - ema_p) Δ
        I <- clip(I + ki Δ, 0, maximum)
        D <- max(0, S - S of `delay` updates ago),  where S <- ema_d S + (1 - ema_d) J
        λ <- clip(kp P + I + kd D, 0, maximum)

    Both averages begin at their first value, and I begins at ``init``. During the first ``delay`` updates, the rise
    is measured from the first one.

    Several environments of a process may share one multiplier. If it should move once per step of all of them, or
    once per rollout, instead of whenever an episode ends, pass ``manual=True`` and call ``update()``. A copy or a
    pickle is independent.

    Args:
        limit: allowed undiscounted cost of an episode, at least 0.
        lr: step size of the gradient ascent, per unit of cost; 0.05 without ``pid``.
        pid: ``PIDGains`` or a mapping of them by name, instead of ``lr``.
        init: initial λ.
        maximum: upper bound of λ, if any.
        manual: whether only ``update()`` moves λ, and not every report of ended episodes.

    Attributes:
        limit: the limit; it may be assigned.
        frozen: while true, ended episodes are ignored and λ does not move.
        updates: number of updates so far.

    Raises:
        ValueError: a number is negative or not finite, ``init`` is above ``maximum``, or both ``lr`` and ``pid``
            are given.
    """

    def __init__(
        self,
        limit: float,
        *,
        lr: float | None = None,
        pid: PIDGains | Mapping[str, float] | None = None,
        init: float = 0.0,
        maximum: float | None = None,
        manual: bool = False,
    ) -> None:
        if lr is not None and pid is not None:
            raise ValueError(f"lr and pid exclude each other, got lr={lr!r} and pid={pid!r}.")
        self.limit = limit
        self.manual = boolean("manual", manual)
        self.frozen = False
        self.updates = 0
        self._maximum = None if maximum is None else real("maximum", maximum, above=0.0)
        self._init = real("init", init, at_least=0.0, at_most=self._maximum)
        self._gains = None if pid is None else PIDGains.read(pid)
        self._lr = None if pid is not None else real("lr", DEFAULT_LR if lr is None else lr, above=0.0)
        self._pending: list[float] = []
        self._value = self._integral = self._init
        self._error = 0.0
        self._smoothed: deque[float] = deque(maxlen=1 if self._gains is None else self._gains.delay + 1)

    @property
    def limit(self) -> float:
        """Allowed undiscounted cost of an episode."""
        return self._limit

    @limit.setter
    def limit(self, limit: float) -> None:
        self._limit = real("limit", limit, at_least=0.0)

    @property
    def value(self) -> float:
        """λ."""
        return self._value

    def set(self, value: float) -> None:
        """Set λ, from 0 to ``maximum``; later updates continue from there."""
        self._value = self._integral = real("the multiplier", value, at_least=0.0, at_most=self._maximum)

    def observe(self, costs: ArrayLike) -> None:
        """Record episodes that ended at the same time, and update unless ``manual``; ignored while ``frozen``.

        Args:
            costs: their undiscounted costs, finite, float ``[n]`` or one float; may be empty.
        """
        ended: list[float] = np.asarray(costs, np.float64).reshape(-1).tolist()
        if not all(map(math.isfinite, ended)):
            raise ValueError(f"Costs of episodes must be finite, got {ended}.")
        if self.frozen:
            return
        self._pending.extend(ended)
        if not self.manual:
            self.update()

    def update(self) -> float:
        """Move λ once, by the mean cost of the episodes since the last update, if any; return λ."""
        if self.frozen or not self._pending:
            return self._value
        mean = math.fsum(self._pending) / len(self._pending)
        self._pending.clear()
        self.updates += 1
        excess = mean - self.limit
        if self._gains is None:
            assert self._lr is not None
            self._value = self._clip(self._value + self._lr * excess)
        else:
            self._value = self._clip(self._control(self._gains, mean, excess))
        return self._value

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, ready for JSON."""
        own = {"lr": self._lr} if self._gains is None else {"pid": asdict(self._gains)}
        rest = {"init": self._init, "maximum": self._maximum, "manual": self.manual}
        return {"limit": self.limit, **own, **rest}

    def state_dict(self) -> dict[str, Any]:
        """Everything that updates change, ready for JSON."""
        return {
            "value": self._value,
            "limit": self.limit,
            "frozen": self.frozen,
            "updates": self.updates,
            "pending": list(self._pending),
            "integral": self._integral,
            "error": self._error,
            "smoothed": list(self._smoothed),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a ``state_dict()``.

        Raises:
            ValueError: an entry is missing, unknown or out of range; nothing is changed then.
        """
        wanted = self.state_dict()
        if set(state) != set(wanted):
            raise ValueError(f"state must have the keys {sorted(wanted)}, got {sorted(map(str, state))}.")
        limit = real("limit", state["limit"], at_least=0.0)
        value, integral = (
            real(key, state[key], at_least=0.0, at_most=self._maximum) for key in ("value", "integral")
        )
        error, frozen = real("error", state["error"]), boolean("frozen", state["frozen"])
        updates = whole("updates", state["updates"], at_least=0)
        pending, smoothed = ([real(key, x) for x in state[key]] for key in ("pending", "smoothed"))
        self._limit, self._value, self._integral, self._error = limit, value, integral, error
        self.frozen, self.updates, self._pending = frozen, updates, pending
        self._smoothed = deque(smoothed, maxlen=self._smoothed.maxlen)

    def __repr__(self) -> str:
        return f"Multiplier(value={self._value:g}, limit={self.limit:g}, updates={self.updates})"

    def _control(self, gains: PIDGains, mean: float, excess: float) -> float:
        first = not self._smoothed
        self._error = excess if first else gains.ema_p * self._error + (1 - gains.ema_p) * excess
        self._integral = self._clip(self._integral + gains.ki * excess)
        smooth = mean if first else gains.ema_d * self._smoothed[-1] + (1 - gains.ema_d) * mean
        self._smoothed.append(smooth)
        rise = max(0.0, smooth - self._smoothed[0])
        return gains.kp * self._error + self._integral + gains.kd * rise

    def _clip(self, value: float) -> float:
        return max(0.0, value if self._maximum is None else min(value, self._maximum))
