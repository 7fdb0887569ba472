"""Gymnasium spaces as JSON, and back."""

import math
import operator
from typing import Any

import numpy as np
from gymnasium import spaces

from spi_plugins.errors import ModelFileError

# The constructor arguments of the spaces that nothing else describes.
_ARGUMENTS: dict[type[spaces.Space[Any]], tuple[str, ...]] = {
    spaces.Discrete: ("n", "start", "dtype"),
    spaces.MultiDiscrete: ("nvec", "start", "dtype"),
    spaces.MultiBinary: ("n",),
}


# The most bytes that the bounds of all boxes may take.
_MAX_BYTES = 2**26


def encode_space(space: spaces.Space[Any]) -> dict[str, Any]:
    """The JSON form of a space."""
    for cls, names in _ARGUMENTS.items():
        if isinstance(space, cls):
            return {"type": cls.__name__} | {name: _plain(getattr(space, name)) for name in names}
    if isinstance(space, spaces.Box):
        bounds = {"low": _bounds(space.low), "high": _bounds(space.high)}
        return {"type": "Box", "shape": list(space.shape), "dtype": str(space.dtype), **bounds}
    if isinstance(space, spaces.Dict):
        return {"type": "Dict", "spaces": {key: encode_space(value) for key, value in space.spaces.items()}}
    raise TypeError(f"Model files cannot describe the space {space}.")


def _plain(value: Any) -> Any:
    # MultiBinary keeps n=(2,) as a tuple, which is not equal to n=2.
    return str(value) if isinstance(value, np.dtype) else np.asarray(value).tolist()


def _bounds(bound: np.ndarray[Any, Any]) -> Any:
    """A single number if all elements agree, which keeps the bounds of images short."""
    return bound.flat[0].item() if bound.size and (bound == bound.flat[0]).all() else bound.tolist()


def decode_space(stored: dict[str, Any]) -> spaces.Space[Any]:
    """The space that ``encode_space`` described.

    Raises:
        ModelFileError: it is of an unknown type, or too large.
    """
    if (size := _box_bytes(stored)) > _MAX_BYTES:
        raise ModelFileError(f"The file describes a space of {size} bytes; {_MAX_BYTES} are allowed.")
    kind = stored.get("type")
    for cls, names in _ARGUMENTS.items():
        if kind == cls.__name__:
            arguments = {name: stored[name] for name in names}
            if "dtype" in names:
                arguments["dtype"] = np.dtype(stored["dtype"]).type
            return cls(**arguments)
    if kind == "Box":
        shape, dtype = tuple(stored["shape"]), np.dtype(stored["dtype"])
        if dtype.kind not in "biuf":
            raise ValueError(f"a Box of {dtype}")
        low, high = (np.broadcast_to(np.asarray(stored[key], dtype), shape) for key in ("low", "high"))
        return spaces.Box(low, high, shape, dtype.type)
    if kind == "Dict":
        return spaces.Dict({key: decode_space(value) for key, value in stored["spaces"].items()})
    raise ModelFileError(f"The file describes a space of unknown type {kind!r}.")


def _box_bytes(stored: dict[str, Any]) -> int:
    if stored.get("type") == "Dict":
        return sum(map(_box_bytes, stored["spaces"].values()))
    if stored.get("type") != "Box":
        return 0
    elements: int = math.prod(map(operator.index, stored["shape"]))
    return elements * int(np.dtype(stored["dtype"]).itemsize)
