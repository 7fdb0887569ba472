"""Gymnasium spaces as JSON, and back."""

from typing import Any

import numpy as np
from gymnasium import spaces

from spi_plugins.errors import ModelFileError


def encode_space(space: spaces.Space[Any]) -> dict[str, Any]:
    """The JSON form of a space."""
    if isinstance(space, spaces.Box):
        return {
            "type": "Box",
            "shape": list(space.shape),
            "dtype": str(space.dtype),
            "low": _bounds(space.low),
            "high": _bounds(space.high),
        }
    if isinstance(space, spaces.Discrete):
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start), "dtype": str(space.dtype)}
    if isinstance(space, spaces.MultiDiscrete):
        return {
            "type": "MultiDiscrete",
            "nvec": space.nvec.tolist(),
            "start": space.start.tolist(),
            "dtype": str(space.dtype),
        }
    if isinstance(space, spaces.MultiBinary):
        # n=2 and n=(2,) have the same shape, but Gymnasium does not count them as equal.
        return {"type": "MultiBinary", "n": space.n if isinstance(space.n, int) else list(space.shape)}
    if isinstance(space, spaces.Dict):
        return {"type": "Dict", "spaces": {key: encode_space(value) for key, value in space.spaces.items()}}
    raise TypeError(f"Model files cannot describe the space {space}.")


def _bounds(bound: np.ndarray[Any, Any]) -> Any:
    """A single number if all elements agree, which keeps the bounds of images short."""
    return bound.flat[0].item() if bound.size and (bound == bound.flat[0]).all() else bound.tolist()


def decode_space(stored: dict[str, Any]) -> spaces.Space[Any]:
    """The space that ``encode_space`` described."""
    kind = stored.get("type")
    if kind == "Box":
        shape, dtype = tuple(stored["shape"]), np.dtype(stored["dtype"])
        low, high = (np.broadcast_to(np.asarray(stored[key], dtype), shape) for key in ("low", "high"))
        return spaces.Box(low, high, shape, dtype.type)
    if kind == "Discrete":
        return spaces.Discrete(stored["n"], start=stored["start"], dtype=np.dtype(stored["dtype"]).type)
    if kind == "MultiDiscrete":
        return spaces.MultiDiscrete(
            stored["nvec"], dtype=np.dtype(stored["dtype"]).type, start=stored["start"]
        )
    if kind == "MultiBinary":
        return spaces.MultiBinary(stored["n"])
    if kind == "Dict":
        return spaces.Dict({key: decode_space(value) for key, value in stored["spaces"].items()})
    raise ModelFileError(f"The file describes a space of unknown type {kind!r}.")
