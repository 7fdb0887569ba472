"""Checks of costs, with the errors that all cost wrappers share."""

import math
import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np

from spi_wrappers.cost.accounts.account import COST_KEY, Bools, Floats

_MAKERS = "CostFromInfo, CostFromFn, VelocityCost or SixTupleToInfo"


def missing_cost(wrapper: str, keys: list[str]) -> ValueError:
    """The error for a transition whose info has no cost."""
    return ValueError(
        f"{wrapper} needs info['cost'] at every step, but the info has only {sorted(keys)}. First wrap the environment "
        f"in something that makes a cost (inside of {wrapper}), such as {_MAKERS}."
    )


def double_cost(wrapper: str) -> ValueError:
    """The error for a second cost."""
    return ValueError(
        f"{wrapper} makes info['cost'], but the wrapped environment already has one. Use that one without "
        f"{wrapper}, or remove the wrapper inside that makes it."
    )


def read_single_cost(value: Any, wrapper: str, what: str = "info['cost']") -> float:
    """A step's cost as a float; a ``ValueError`` unless it is one finite number, or an array of it without axes."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if not isinstance(value, numbers.Real | np.bool_):
        shape = f" of shape {np.shape(value)}" if isinstance(value, np.ndarray | list | tuple) else ""
        raise ValueError(
            f"{wrapper} needs {what} to be one number, got {type(value).__name__}{shape}: {value!r}."
        )
    cost = float(value)
    if not math.isfinite(cost):
        raise ValueError(f"{wrapper} needs {what} to be finite, got {cost}.")
    return cost


def cost_in(info: Mapping[str, Any], wrapper: str) -> float:
    """The cost in the info of one transition, which must be there."""
    if COST_KEY not in info:
        raise missing_cost(wrapper, list(info))
    return read_single_cost(info[COST_KEY], wrapper)


def read_vector_cost(value: Any, live: Bools, wrapper: str, what: str = "infos['cost']") -> Floats:
    """A vector step's costs, float64 ``[n]``, 0 where not ``live``; a ``ValueError`` unless they are finite."""
    costs = np.asarray(value)
    if costs.shape != live.shape or costs.dtype.kind not in "fiub":
        raise ValueError(
            f"{wrapper} needs {what} to be numbers of shape {live.shape}, got {costs.dtype} of shape {costs.shape}."
        )
    exact = costs.dtype.kind != "f"  # then it has neither NaN nor infinity
    if costs.dtype != np.float64:
        costs = costs.astype(np.float64)
    if np.count_nonzero(live) < len(live):
        costs = np.where(live, costs, 0.0)
    if not exact and not math.isfinite(np.add.reduce(costs)):
        rows = np.flatnonzero(~np.isfinite(costs)).tolist()
        if rows:
            raise ValueError(
                f"{wrapper} needs {what} to be finite, got {costs[rows].tolist()} in rows {rows}."
            )
    return costs
