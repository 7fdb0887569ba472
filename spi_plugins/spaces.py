"""Gymnasium's spaces as hashable specs, and back. The pure layers know specs only."""

import math
from typing import Any

import numpy as np
from gymnasium import spaces

from spi_plugins.errors import EnvironmentNotSupportedError
from spi_plugins.types import ActionSpec, ArraySpec, ObservationSpec

_OBSERVATIONS = (
    "Box, Discrete and MultiDiscrete counting from 0, MultiBinary, and Dict of these (one level, string keys)"
)
_ACTIONS = "Discrete, MultiDiscrete, MultiBinary, and Box with finite bounds"


def observation_spec(space: spaces.Space[Any]) -> ObservationSpec:
    """Turn an observation space into a spec.

    A uint8 ``Box`` with three axes and bounds 0..255 is an image, whose channels come first if the first axis
    is the smallest (Stable-Baselines3's rule). Any other ``Box`` is a vector of numbers, whatever its dtype.

    Args:
        space: the space of *one* observation, without an environment axis.

    Returns:
        An ``ArraySpec``, or ``(key, ArraySpec)`` pairs sorted by key for a ``Dict``. Where the bounds of a
        ``Box`` differ between elements, ``low`` and ``high`` are the outermost.

    Raises:
        EnvironmentNotSupportedError: a ``ValueError``; no encoder reads the space or a part of it.
    """
    if not isinstance(space, spaces.Dict):
        return _array_spec(space, where="The observation space")
    if not space.spaces:
        raise EnvironmentNotSupportedError(
            f"The observation space {space} is empty. Allowed: {_OBSERVATIONS}."
        )
    keys = list(space.spaces)
    if not all(isinstance(key, str) for key in keys):
        raise EnvironmentNotSupportedError(
            f"The observation space {space} has keys that are not strings: {keys!r}."
        )
    return tuple(
        (key, _array_spec(space.spaces[key], where=f"The observation space at {key!r}"))
        for key in sorted(keys)
    )


def action_spec(space: spaces.Space[Any]) -> ActionSpec:
    """Turn an action space into a spec, in which discrete actions count from 0.

    ``MultiBinary`` becomes ``multi_discrete`` with two values an entry. ``actions.to_action`` converts back.

    Args:
        space: the space of *one* action, without an environment axis.

    Raises:
        EnvironmentNotSupportedError: a ``ValueError``; the space is of another kind, or a ``Box`` without finite
            bounds.
    """
    if isinstance(space, spaces.Discrete):
        return ActionSpec(kind="discrete", nvec=(int(space.n),))
    if isinstance(space, spaces.MultiDiscrete):
        nvec = tuple(map(int, space.nvec.ravel()))
        return ActionSpec(kind="multi_discrete", shape=space.nvec.shape, nvec=nvec)
    if isinstance(space, spaces.MultiBinary):
        shape = tuple(map(int, space.shape))
        return ActionSpec(kind="multi_discrete", shape=shape, nvec=(2,) * math.prod(shape))
    # An integer Box without bounds has those of its dtype.
    if isinstance(space, spaces.Box) and space.is_bounded() and space.low.size:
        shape = tuple(map(int, space.shape))
        low, high = (tuple(bound.ravel().tolist()) for bound in (space.low, space.high))
        return ActionSpec(kind="box", shape=shape, low=low, high=high, dtype=str(space.dtype))
    raise EnvironmentNotSupportedError(f"The action space {space} is not supported. Allowed: {_ACTIONS}.")


def observation_space(spec: ObservationSpec) -> spaces.Space[Any]:
    """Build the Gymnasium space that contains the observations of ``spec``, with the spec's dtypes."""
    if isinstance(spec, ArraySpec):
        return _array_space(spec)
    return spaces.Dict({key: _array_space(part) for key, part in spec})


def action_space(spec: ActionSpec) -> spaces.Space[Any]:
    """Build the Gymnasium space of the actions of ``spec``: int64 counted from 0, or a ``Box`` of the spec's dtype."""
    if spec.kind == "discrete":
        return spaces.Discrete(spec.nvec[0])
    if spec.kind == "multi_discrete":
        return spaces.MultiDiscrete(np.reshape(spec.nvec, spec.shape))
    dtype: Any = np.dtype(spec.dtype).type
    low, high = (np.asarray(bound, dtype).reshape(spec.shape) for bound in (spec.low, spec.high))
    return spaces.Box(low, high, dtype=dtype)


def _array_spec(space: spaces.Space[Any], *, where: str) -> ArraySpec:
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.number) and space.low.size:
        return _box_spec(space)
    if isinstance(space, spaces.Discrete) and space.start == 0:
        return ArraySpec(kind="discrete", shape=(), dtype=str(space.dtype), nvec=(int(space.n),))
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1 and not np.any(space.start):
        nvec = tuple(map(int, space.nvec))
        return ArraySpec(kind="multi_discrete", shape=(len(nvec),), dtype=str(space.dtype), nvec=nvec)
    if isinstance(space, spaces.MultiBinary):
        return ArraySpec(kind="multi_binary", shape=tuple(map(int, space.shape)), dtype=str(space.dtype))
    raise EnvironmentNotSupportedError(f"{where}, {space}, is not supported. Allowed: {_OBSERVATIONS}.")


def _box_spec(space: spaces.Box) -> ArraySpec:
    shape = tuple(map(int, space.shape))
    low, high = float(space.low.min()), float(space.high.max())
    if len(shape) == 3 and space.dtype == np.uint8 and (space.low == 0).all() and (space.high == 255).all():
        first = int(np.argmin(shape)) == 0
        return ArraySpec(kind="image", shape=shape, dtype="uint8", low=low, high=high, channels_first=first)
    return ArraySpec(kind="box", shape=shape, dtype=str(space.dtype), low=low, high=high)


def _array_space(spec: ArraySpec) -> spaces.Space[Any]:
    dtype: Any = np.dtype(spec.dtype).type
    if spec.kind == "discrete":
        return spaces.Discrete(spec.nvec[0], dtype=dtype)
    if spec.kind == "multi_discrete":
        return spaces.MultiDiscrete(list(spec.nvec), dtype=dtype)
    if spec.kind == "multi_binary":
        return spaces.MultiBinary(spec.shape if len(spec.shape) != 1 else spec.shape[0])
    return spaces.Box(spec.low, spec.high, spec.shape, dtype)
