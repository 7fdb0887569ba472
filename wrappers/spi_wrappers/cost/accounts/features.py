"""Numbers appended to observations: flat observations grow, dictionaries get a key."""

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from spi_wrappers.cost.accounts.account import Feature


def extended_space(space: spaces.Space[Any], feature: Feature, wrapper: str) -> spaces.Space[Any]:
    """The space of single observations with the feature; a flat array of floats or a dictionary without its key."""
    low, high = feature.low, feature.high
    if isinstance(space, spaces.Dict):
        if feature.name in space.spaces:
            raise ValueError(
                f"{wrapper} adds the key {feature.name!r} to observations, which already have it."
            )
        box = spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)
        return spaces.Dict({**space.spaces, feature.name: box})
    if isinstance(space, spaces.Box) and len(space.shape) == 1 and space.dtype.kind == "f":
        lowest = np.concatenate([space.low, low]).astype(space.dtype)
        return spaces.Box(lowest, np.concatenate([space.high, high]).astype(space.dtype), dtype=lowest.dtype)
    raise TypeError(
        f"{wrapper} appends {feature.name!r} to observations that are flat arrays of floats or dictionaries, not "
        f"{space}. First flatten them (gymnasium.wrappers.FlattenObservation) or put them into a dictionary."
    )


def extended(observation: Any, values: NDArray[Any] | None, feature: Feature | None) -> Any:
    """An observation, ``[d]`` or ``[n, d]`` or a dictionary, with the feature's ``values``, ``[k]`` or ``[n, k]``."""
    if feature is None or values is None:
        return observation
    if isinstance(observation, dict):
        return {**observation, feature.name: values.astype(np.float32)}
    return np.concatenate([observation, values.astype(observation.dtype)], axis=-1)


def extended_rows(observations: Any, values: NDArray[Any], rows: NDArray[np.intp], feature: Feature) -> Any:
    """``infos["final_obs"]`` with the feature: an object array of observations, of which only ``rows`` exist."""
    result = observations.copy()
    for row in rows.tolist():
        result[row] = extended(observations[row], values[row], feature)
    return result
