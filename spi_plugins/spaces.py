"""Gymnasium's spaces as hashable specs, and back. The pure layers know specs only."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from spi_plugins.errors import EnvironmentNotSupportedError
from spi_plugins.types import ActionSpec, ArraySpec, Observation, ObservationSpec, device_dtype

_OBSERVATIONS = "Box, Discrete, MultiDiscrete, MultiBinary, and Dict and Tuple of these"
_ARRAYS = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
_ACTIONS = "Discrete, MultiDiscrete, MultiBinary, and Box with finite bounds"


def observation_spec(space: spaces.Space[Any]) -> ObservationSpec:
    """Turn an observation space into a spec.

    A uint8 ``Box`` with three axes and bounds 0..255 is an image, whose channels come first if the first axis
    is the smallest (Stable-Baselines3's rule). Any other ``Box`` is a vector of numbers, whatever its dtype.

    Args:
        space: the space of *one* observation, without an environment axis.

    Returns:
        An ``ArraySpec``, or ``(key, ArraySpec)`` pairs sorted by key for a ``Dict`` or ``Tuple``, see ``flat_space``.
        Where the bounds of a ``Box`` differ between elements, ``low`` and ``high`` are the outermost.

    Raises:
        EnvironmentNotSupportedError: a ``ValueError``; no encoder reads the space or a part of it.
    """
    flat = flat_space(space)
    if not isinstance(flat, spaces.Dict):
        return _array_spec(flat)
    return tuple((key, _array_spec(flat[key])) for key in sorted(flat.spaces))


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


def flat_space(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """Replace a nested ``Dict`` or a ``Tuple`` by a ``Dict`` of one level; leave other spaces as they are.

    The keys are paths: ``"outer/inner"``, and for entries of a ``Tuple`` their numbers.

    Raises:
        EnvironmentNotSupportedError: a part is neither an array nor a container of arrays, a container is empty, a key
            is not a string, or two parts have the same path. The message names the key.
    """
    parts = list(_arrays(space, ()))
    if not isinstance(space, spaces.Dict | spaces.Tuple):
        return space
    names = ["/".join(path) for path, _ in parts]
    for name in names:
        if names.count(name) > 1:
            raise EnvironmentNotSupportedError(
                f"Two parts of the observation space are named {name!r}: {space}."
            )
    nested = isinstance(space, spaces.Tuple) or any(len(path) > 1 for path, _ in parts)
    flat = {name: part for name, (_, part) in zip(names, parts, strict=True)}
    return spaces.Dict(flat) if nested else space


def flat_observation(obs: Any) -> Any:
    """An observation of a space, single or batched, as one of its ``flat_space``."""
    if isinstance(obs, tuple):
        obs = {str(i): part for i, part in enumerate(obs)}
    if not isinstance(obs, dict) or not any(isinstance(part, dict | tuple) for part in obs.values()):
        return obs
    flat: dict[str, Any] = {}
    for key, part in obs.items():
        part = flat_observation(part)
        flat |= {f"{key}/{name}": x for name, x in part.items()} if isinstance(part, dict) else {key: part}
    return flat


_UNCHANGED = {np.dtype(np.float32), np.dtype(np.uint8)}  # of observations that the device takes as they are


def to_device(space: spaces.Space[Any], obs: Observation, name: str = "observation") -> Observation:
    """Observations of a flat space as networks take them: discrete values counted from 0, in the device's dtypes.

    Args:
        space: the space of one observation.
        obs: one or a batch.
        name: of the observations in messages.

    Raises:
        ValueError: numbers do not fit an integer dtype, which would wrap or cut them.
    """
    if isinstance(space, spaces.Dict):
        return {key: to_device(space[key], part, f"{name}[{key!r}]") for key, part in obs.items()}
    if (
        isinstance(space, spaces.Box)
        and isinstance(obs, np.ndarray)
        and obs.dtype == space.dtype in _UNCHANGED
    ):
        return obs  # most of them, at every step
    start, dtype = getattr(space, "start", None), device_dtype(_array_dtype(space))
    array = np.asarray(obs)
    if start is not None and np.any(start):
        array = array - start
    if array.dtype == dtype:
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = array.astype(dtype)
    if narrow.dtype.kind in "iub" and array.dtype.kind in "iuf" and not np.array_equal(narrow, array):
        wrong = array[narrow != array].flat[0]
        raise ValueError(
            f"{name} holds {wrong}, which is not a value of {narrow.dtype}; its space is {space}."
        )
    return narrow


def float32_bounds(low: Any, high: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The widest float32 bounds that do not exceed the given ones, which rounding to the nearest number could."""
    infinity = np.float32(np.inf)
    with np.errstate(over="ignore"):
        least, most = np.asarray(low, np.float32), np.asarray(high, np.float32)
    least = np.where(least < low, np.nextafter(least, infinity), least)
    return least, np.where(most > high, np.nextafter(most, -infinity), most)


def _arrays(
    space: spaces.Space[Any], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], spaces.Space[Any]]]:
    """The paths and spaces of the arrays of an observation."""
    where = _where("/".join(path))
    if isinstance(space, spaces.Dict | spaces.Tuple):
        entries = dict(enumerate(space.spaces)) if isinstance(space, spaces.Tuple) else space.spaces
        if not entries:
            raise EnvironmentNotSupportedError(f"{where}, {space}, is empty. Allowed: {_OBSERVATIONS}.")
        for key, part in entries.items():
            if not isinstance(key, str) and isinstance(space, spaces.Dict):
                raise EnvironmentNotSupportedError(
                    f"{where}, {space}, has a key that is not a string: {key!r}."
                )
            yield from _arrays(part, (*path, str(key)))
        return
    if not isinstance(space, _ARRAYS) or 0 in (space.shape or ()):
        raise EnvironmentNotSupportedError(f"{where}, {space}, is not supported. Allowed: {_OBSERVATIONS}.")
    yield path, space


def _where(key: str) -> str:
    return f"The observation space at {key!r}" if key else "The observation space"


def _array_dtype(space: spaces.Space[Any]) -> str:
    """Of an observation; float32 for integers that 32 bits cannot hold."""
    dtype = np.dtype(space.dtype)
    if isinstance(space, spaces.Box) and dtype.kind in "iu" and dtype.itemsize == 8:
        limits = np.iinfo(device_dtype(dtype))
        if space.low.min() < limits.min or space.high.max() > limits.max:
            return "float32"
    return dtype.name


def _array_spec(space: spaces.Space[Any]) -> ArraySpec:
    if isinstance(space, spaces.Box):
        return _box_spec(space)
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        kind: Any = "discrete" if isinstance(space, spaces.Discrete) else "multi_discrete"
        count = space.n if isinstance(space, spaces.Discrete) else space.nvec
        nvec, start = (tuple(np.ravel(x).tolist()) for x in (count, space.start))
        shape = tuple(map(int, np.shape(count)))
        start = start if any(start) else ()
        return ArraySpec(kind=kind, shape=shape, dtype=str(space.dtype), nvec=nvec, start=start)
    assert isinstance(space, spaces.MultiBinary)
    return ArraySpec(kind="multi_binary", shape=tuple(map(int, space.shape)), dtype=str(space.dtype))


def _box_spec(space: spaces.Box) -> ArraySpec:
    shape = tuple(map(int, space.shape))
    low, high = float(space.low.min()), float(space.high.max())
    if len(shape) == 3 and space.dtype == np.uint8 and (space.low == 0).all() and (space.high == 255).all():
        first = int(np.argmin(shape)) == 0
        return ArraySpec(kind="image", shape=shape, dtype="uint8", low=low, high=high, channels_first=first)
    return ArraySpec(kind="box", shape=shape, dtype=_array_dtype(space), low=low, high=high)


def _array_space(spec: ArraySpec) -> spaces.Space[Any]:
    dtype: Any = np.dtype(spec.dtype).type
    start = spec.start or (0,) * len(spec.nvec)
    if spec.kind == "discrete":
        return spaces.Discrete(spec.nvec[0], start=start[0], dtype=dtype)
    if spec.kind == "multi_discrete":
        nvec, first = (np.reshape(x, spec.shape) for x in (spec.nvec, start))
        return spaces.MultiDiscrete(nvec, dtype=dtype, start=first)
    if spec.kind == "multi_binary":
        return spaces.MultiBinary(spec.shape if len(spec.shape) != 1 else spec.shape[0])
    return spaces.Box(spec.low, spec.high, spec.shape, dtype)
