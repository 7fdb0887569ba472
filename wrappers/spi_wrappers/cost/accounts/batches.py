"""Rows of batched observations of any space."""

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray


def with_rows(space: spaces.Space[Any], batch: Any, rows: NDArray[np.intp], values: Any) -> Any:
    """A copy of a batch of observations with some rows replaced.

    ``values`` maps each of the indices ``rows`` to a single observation, such as ``infos["final_obs"]``.
    """
    if isinstance(batch, np.ndarray):
        result = batch.copy()
        for row in rows.tolist():
            result[row] = values[row]
        return result
    singles = {row: values[row] for row in rows.tolist()}
    if isinstance(space, spaces.Dict):
        return {
            key: with_rows(part, batch[key], rows, {row: single[key] for row, single in singles.items()})
            for key, part in space.spaces.items()
        }
    if isinstance(space, spaces.Tuple):
        return tuple(
            with_rows(part, batch[i], rows, {row: single[i] for row, single in singles.items()})
            for i, part in enumerate(space.spaces)
        )
    return tuple(singles.get(row, single) for row, single in enumerate(batch))


def row_of(space: spaces.Space[Any], batch: Any, row: int) -> Any:
    """One row of a batch, as a copy."""
    if isinstance(space, spaces.Dict):
        return {key: row_of(part, batch[key], row) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(row_of(part, batch[i], row) for i, part in enumerate(space.spaces))
    value = batch[row]
    return value.copy() if isinstance(value, np.ndarray) else value
