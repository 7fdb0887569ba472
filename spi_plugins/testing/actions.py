"""Random actions for the checks."""

from typing import Any

import numpy as np

from spi_plugins.testing.requirement import ConformanceError
from spi_plugins.types import ActionSpec


def random_actions(
    spec: ActionSpec, rng: np.random.Generator, leading: tuple[int, ...]
) -> np.ndarray[Any, Any]:
    """Draw actions evenly within a spec's bounds, ``[*leading, *shape]``, int32 or float32.

    Raises:
        ConformanceError: the spec is of an unknown kind.
    """
    if spec.kind == "discrete":
        return rng.integers(spec.nvec[0], size=leading, dtype=np.int32)
    if spec.kind == "multi_discrete":
        return rng.integers(spec.nvec, size=(*leading, len(spec.nvec)), dtype=np.int32)
    if spec.kind == "box":
        flat = rng.uniform(spec.low, spec.high, size=(*leading, len(spec.low))).astype(np.float32)
        return flat.reshape(*leading, *spec.shape)
    raise ConformanceError(f"action_spec has the unknown kind {spec.kind!r}.")
