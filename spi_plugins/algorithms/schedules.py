"""Schedules that survive a save: floats and SB3's own schedule classes, as JSON."""

import math
import warnings
from collections.abc import Callable
from typing import Any

from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule

Schedule = Callable[[float], float]


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


def encode_schedule(value: float | Schedule, current: float) -> Any:
    """JSON form of a schedule.

    Args:
        value: a number, one of SB3's schedule objects, or any callable.
        current: its present value, the only part stored of a callable that is not one of SB3's schedules:
            storing the function itself would mean running code from a file.
    """
    if isinstance(value, FloatSchedule):
        return encode_schedule(value.value_schedule, current)
    if isinstance(value, ConstantSchedule):
        return float(value.val)
    if isinstance(value, LinearSchedule):
        return {
            "schedule": "linear",
            "start": value.start,
            "end": value.end,
            "end_fraction": value.end_fraction,
        }
    if callable(value):
        return {"schedule": "custom", "current": current}
    return float(value)


def decode_schedule(name: str, stored: Any) -> float | Schedule:
    """The number or schedule that ``encode_schedule`` stored."""
    if not isinstance(stored, dict):
        return float(stored)
    if stored["schedule"] == "linear":
        return LinearSchedule(stored["start"], stored["end"], stored["end_fraction"])
    warnings.warn(
        f"The file's {name} was a custom function, which model files do not hold; it stays at "
        f"{stored['current']:g}. To continue with the function, pass {name}=... to load().",
        stacklevel=2,
    )
    return float(stored["current"])
