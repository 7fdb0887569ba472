"""Observations as users pass them to ``predict``: one or a batch, channels first or last."""

from typing import Any

import numpy as np
from gymnasium import spaces

from spi_plugins.checks import check_finite
from spi_plugins.spaces import flat_observation, to_device
from spi_plugins.types import Observation


def to_batch(space: spaces.Space[Any], observation: Observation) -> tuple[Observation, bool]:
    """One observation or a batch as a batch of arrays in the space's layout.

    Args:
        space: the space of one observation.
        observation: an array or a number, with or without a leading batch axis; a dict of them for ``Dict``, which may
            be nested as the environment's is. An image may come with its channels first or last.

    Returns:
        The batch, and whether it came as one.

    Raises:
        ValueError: a wrong shape, missing or unknown keys, values that are not finite as float32, or numbers that an
            integer or discrete space does not have.
    """
    if isinstance(observation, tuple) and observation and isinstance(observation[-1], dict):
        raise ValueError(
            f"observation is a tuple of {len(observation)} that ends with an info, as reset() and step() return it; "
            "pass its first element. You may be mixing Gym API and VecEnv API: only a VecEnv's reset() returns no info."
        )
    if isinstance(space, spaces.Dict):
        observation = flat_observation(observation)
        if not isinstance(observation, dict) or set(observation) != set(space.spaces):
            got = sorted(observation) if isinstance(observation, dict) else type(observation).__name__
            raise ValueError(f"observation must be a dict with the keys {sorted(space.spaces)}, got {got}.")
        parts = {
            key: _array_to_batch(space[key], observation[key], f"observation[{key!r}]")
            for key in space.spaces
        }
        if len({batched for _, batched in parts.values()}) > 1:
            raise ValueError("observation mixes single entries and batches among its keys.")
        return {key: part for key, (part, _) in parts.items()}, next(iter(parts.values()))[1]
    return _array_to_batch(space, observation, "observation")


def _array_to_batch(space: spaces.Space[Any], value: Any, name: str) -> tuple[np.ndarray[Any, Any], bool]:
    array = np.asarray(value)
    shape = space.shape or ()
    if array.shape[1:] == shape and array.ndim == len(shape) + 1:
        batch, batched = array, True
    elif array.shape == shape:
        batch, batched = array[None], False
    else:
        turned = _turn_channels(array, shape)
        if turned is None:
            raise ValueError(
                f"{name} must have shape {shape} or (batch, {', '.join(map(str, shape))}), got {array.shape}."
            )
        return _array_to_batch(space, turned, name)
    if not len(batch):
        raise ValueError(f"{name} is an empty batch, of shape {array.shape}.")
    if batch.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold numbers, got dtype {array.dtype}.")
    check_finite(name, batch)
    _check_counted(space, batch, name)
    narrow = to_device(space, batch, name)
    check_finite(name, narrow)
    return narrow, batched


def _check_counted(space: Any, batch: np.ndarray[Any, Any], name: str) -> None:
    """Refuse discrete values outside of their space, which a one-hot vector would drop."""
    if not isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return
    count = space.n if isinstance(space, spaces.Discrete) else space.nvec
    if (batch < space.start).any() or (batch >= space.start + count).any():
        raise ValueError(f"{name} must be in {space}, got {batch.tolist()}.")


def _turn_channels(array: np.ndarray[Any, Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any] | None:
    """The image with its channels moved to the other end, if that makes it fit."""
    if len(shape) != 3 or array.ndim not in (3, 4):
        return None
    for source, destination in ((-1, -3), (-3, -1)):
        turned = np.moveaxis(array, source, destination)
        if turned.shape[-3:] == shape:
            return turned
    return None
