"""Schedules that survive a save: numbers and linear ones, as JSON."""

import math
import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule

Schedule: TypeAlias = Callable[[float], float]

_LINEAR = "lin_"  # rl_zoo3's prefix


class Constant(float, FloatSchedule, ConstantSchedule):
    """A number that is also SB3's schedule of it."""

    def __new__(cls, val: float) -> "Constant":
        """Make the number and the schedule."""
        made = super().__new__(cls, val)
        made.val = float(val)
        return made

    def __init__(self, val: float) -> None:
        pass

    @property
    def value_schedule(self) -> Schedule:  # type: ignore[override]
        """The schedule alone, as SB3's ``FloatSchedule`` has it."""
        return ConstantSchedule(self.val)

    def __reduce__(self) -> tuple[Any, ...]:
        return Constant, (self.val,)


class Linear(float, FloatSchedule, LinearSchedule):
    """SB3's linear schedule that is also the number it starts from, as which TensorBoard's ``HParam`` logs it."""

    def __new__(cls, start: float, end: float, end_fraction: float) -> "Linear":
        """Make the number and the schedule."""
        made = super().__new__(cls, start)
        made.start, made.end, made.end_fraction = start, end, end_fraction
        return made

    def __init__(self, start: float, end: float, end_fraction: float) -> None:
        pass

    @property
    def value_schedule(self) -> Schedule:  # type: ignore[override]
        """The schedule alone, as SB3's ``FloatSchedule`` has it."""
        return LinearSchedule(self.start, self.end, self.end_fraction)

    def __reduce__(self) -> tuple[Any, ...]:
        return Linear, (self.start, self.end, self.end_fraction)

    def __call__(self, progress_remaining: float) -> float:
        """The value at a remaining progress. At an ``end_fraction`` of 0, by which SB3's divides, the end."""
        return super().__call__(progress_remaining) if self.end_fraction > 0 else float(self.end)

    def __repr__(self) -> str:
        return LinearSchedule.__repr__(self)


def as_schedule(name: str, value: Any) -> Schedule:
    """What may be given as a schedule, as a function.

    Args:
        name: of the argument.
        value: a number, any callable, or rl_zoo3's ``"lin_0.001"``, which falls linearly from 0.001 to 0.

    Raises:
        ValueError: a string of another form.
    """
    if isinstance(value, str):
        return _parsed(name, value)
    if isinstance(value, Constant | Linear):
        return value
    if isinstance(value, FloatSchedule):
        return as_schedule(name, value.value_schedule)
    if isinstance(value, LinearSchedule):
        return Linear(value.start, value.end, value.end_fraction)
    if isinstance(value, ConstantSchedule):
        return Constant(value.val)
    if type(value).__name__ == "SimpleLinearSchedule":  # rl_zoo3's
        return Linear(value.initial_value, 0.0, 1.0)
    return FloatSchedule(value) if callable(value) else Constant(value)


def _parsed(name: str, text: str) -> Linear:
    try:
        if text.startswith(_LINEAR):
            return Linear(check_scheduled(name, float(text.removeprefix(_LINEAR))), 0.0, 1.0)
    except ValueError:
        pass
    raise ValueError(
        f"{name} must be a number, a function of the remaining progress (1 to 0) or a string such as "
        f"'{_LINEAR}0.001', which falls linearly from 0.001 to 0, got {text!r}."
    )


def remaining_progress(num_timesteps: int, total_timesteps: int) -> float:
    """SB3's progress: 1 at the start, 0 at the end and in the last rollout, which goes past it."""
    return max(1.0 - num_timesteps / total_timesteps, 0.0)


def check_scheduled(name: str, value: float) -> float:
    """The value of a schedule, checked.

    Raises:
        ValueError: it is negative or not finite.
    """
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError(
            f"The schedule {name} returned {value}; it must return finite numbers of at least 0."
        )
    return value


def scheduled(name: str, value: Any, remaining: float) -> float:
    """The checked value of a schedule, or of what may be given as one, at a remaining progress."""
    return check_scheduled(name, float(as_schedule(name, value)(remaining)))


def encode_schedule(name: str, value: Any, remaining: float) -> Any:
    """JSON form of a schedule, ``None`` of none.

    Only the present value of a custom function is stored: storing the function itself would mean running code from a
    file. A function that fails now is stored as 0, so that the model is not lost.
    """
    if value is None:
        return None
    schedule = as_schedule(name, value)
    if isinstance(schedule, Constant):
        return schedule.val
    if isinstance(schedule, Linear):
        return {
            "schedule": "linear",
            "start": float(schedule.start),
            "end": float(schedule.end),
            "end_fraction": float(schedule.end_fraction),
        }
    try:
        current = scheduled(name, schedule, remaining)
    except Exception:
        current = 0.0
    return {"schedule": "custom", "current": current}


def decode_schedule(name: str, stored: Any) -> Schedule | None:
    """The schedule that ``encode_schedule`` stored."""
    if stored is None:
        return None
    if not isinstance(stored, dict):
        return Constant(check_scheduled(name, float(stored)))
    if stored["schedule"] == "linear":
        return Linear(*(float(stored[key]) for key in ("start", "end", "end_fraction")))
    warnings.warn(
        f"The file's {name} was a custom function, which model files do not hold; it stays at "
        f"{stored['current']:g}. To continue with the function, pass {name}=... to load().",
        stacklevel=2,
    )
    return Constant(check_scheduled(name, float(stored["current"])))
