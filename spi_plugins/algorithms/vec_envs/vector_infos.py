"""Infos of a vector: from Gymnasium's one dict of arrays to one dict per environment, and their costs."""

import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spi_plugins.checks import check_finite
from spi_plugins.errors import EnvironmentNotSupportedError
from spi_plugins.types import COST_KEY

Infos = list[dict[str, Any]]

# Where wrappers that shape the reward report the original one.
RAW_REWARD_KEY = "reward_raw"


def split_infos(infos: dict[str, Any], count: int, skip: Sequence[str] = ()) -> Infos:
    """Turn a dict of arrays, with its ``_key`` masks, into one dict for each environment, leaving out ``skip``.

    Numbers become Python numbers, and nested dicts are split, too. A value that is not an array over environments goes
    to all of them.
    """
    split: Infos = [{} for _ in range(count)]
    for key, value in infos.items():
        if key in skip or (key.startswith("_") and key[1:] in infos):
            continue
        values = _per_environment(value, count)
        mask = infos.get(f"_{key}")
        for i in range(count) if mask is None else np.flatnonzero(mask).tolist():
            split[i][key] = values[i]
    return split


def costs_of(infos: Infos) -> NDArray[np.float64] | None:
    """Collect ``info["cost"]`` into ``[B]``, 0 where it is missing or not one number, or ``None`` where all are."""
    costs = [as_number(info.get(COST_KEY)) for info in infos]
    if all(cost is None for cost in costs):
        return None
    return np.asarray([0.0 if cost is None else cost for cost in costs], np.float64)


def require_cost(infos: Infos, i: int, num_timesteps: int) -> float:
    """The cost of environment ``i``, which has one.

    Raises:
        ValueError: it is not one number; the message names environment and time step.
    """
    cost = as_number(infos[i][COST_KEY])
    if cost is None:
        raise ValueError(
            f"at time step {num_timesteps}: info[{COST_KEY!r}] of environment {i} must be one number, got "
            f"{reprlib.repr(infos[i][COST_KEY])}."
        )
    return cost


def required_costs(
    infos: Infos, valid: NDArray[np.bool_], num_timesteps: int, names: Sequence[str] = (COST_KEY,)
) -> NDArray[np.float32]:
    """The costs ``[B, K]`` of a step, 0 in rows that are not ``valid``; looked up in ``info`` and its ``cost_terms``.

    Raises:
        EnvironmentNotSupportedError: one is missing.
        ValueError: one is not a finite number.
    """
    costs = np.zeros((len(infos), len(names)), np.float32)
    for i in np.flatnonzero(valid).tolist():
        info = infos[i]
        for k, name in enumerate(names):
            found = info if name in info else info.get("cost_terms", {})
            if name not in found:
                raise EnvironmentNotSupportedError(
                    f"info[{name!r}] is missing in the step of environment {i}, and the agent learns costs. Add them "
                    "with a wrapper of spi_wrappers (CostFromFn, CostFromInfo, SixTupleToInfo, VelocityCost), or use "
                    "an agent that needs none: TDMPC2, or PPO without a constraint."
                )
            cost = as_number(found[name])
            if cost is None:
                raise ValueError(
                    f"at time step {num_timesteps}: info[{name!r}] of environment {i} must be one number, got "
                    f"{reprlib.repr(found[name])}."
                )
            costs[i, k] = cost
    for k, name in enumerate(names):
        check_finite(f"at time step {num_timesteps}: the {name.replace('_', ' ')}", costs[:, k])
    return costs


def as_number(value: Any) -> float | None:
    """A number, or an array that holds just one, as a float; ``None`` for anything else."""
    if isinstance(value, int | float):
        return float(value)
    if not isinstance(value, np.ndarray | np.generic) or value.size != 1 or value.dtype.kind not in "biuf":
        return None
    return float(value.item())


def raw_rewards(infos: dict[str, Any], split: Infos, reward: NDArray[np.float32]) -> NDArray[Any]:
    """The environments' own rewards ``[B]``: ``reward_raw`` in ``split`` where a wrapper left it, else ``reward``."""
    if RAW_REWARD_KEY not in infos and RAW_REWARD_KEY not in infos.get("final_info", ()):
        return reward
    pairs = zip(split, reward.tolist(), strict=True)
    return np.asarray([info.get(RAW_REWARD_KEY, own) for info, own in pairs], np.float64)


def _per_environment(value: Any, count: int) -> Sequence[Any]:
    if isinstance(value, dict):
        return split_infos(value, count)
    if isinstance(value, np.ndarray) and value.ndim and len(value) == count:
        # Rows are copied, or one kept info would keep the whole batch alive.
        return value.tolist() if value.ndim == 1 else [row.copy() for row in value]
    return [value] * count
