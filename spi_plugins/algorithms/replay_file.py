"""The file of a replay buffer: the filled slots as plain arrays."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spi_plugins.archive import Format, PathOrFile, describing, read_archive, write_archive
from spi_plugins.arrays import flatten_arrays, restore_arrays
from spi_plugins.buffers import Buffer
from spi_plugins.errors import ModelFileError
from spi_plugins.host_buffers import HostBuffer

_FORMAT = Format("spi-plugins replay", 2, "replay buffer", suffix="", finite=("buffer/",))


def write_replay_file(target: PathOrFile, buffer: Buffer | HostBuffer, num_timesteps: int) -> None:
    """Write a buffer to a path (atomically, creating missing folders) or into an open binary file.

    Args:
        target: the path or file.
        buffer: what to write; all rings are cut behind the last slot of the fullest one.
        num_timesteps: the environment steps of the model that the buffer belongs to.
    """
    filled = int(np.max(buffer.size, initial=0))
    cut = {
        "slots": jax.tree.map(lambda ring: np.asarray(ring[:, :filled]), buffer.slots),
        "position": np.asarray(buffer.position, np.int32),
        "size": np.asarray(buffer.size, np.int32),
    }
    arrays = {f"buffer/{key}": value for key, value in flatten_arrays(cut).items()}
    data = {"capacity": buffer.slots.reward.shape[1], "num_timesteps": num_timesteps}
    write_archive(target, _FORMAT, data, arrays)


def read_replay_file(source: PathOrFile, like: Buffer | HostBuffer) -> tuple[Buffer | HostBuffer, int]:
    """Read a buffer into one like ``like``; also return the time step at which it was written.

    Args:
        source: what ``write_replay_file`` wrote.
        like: an empty buffer of the model that loads it, which host buffers are read into; another capacity is fine if
            everything fits.

    Raises:
        FileNotFoundError: the file does not exist.
        ModelFileError: the file is damaged or does not fit the model.
    """
    file = read_archive(source, _FORMAT)
    stored = file.part("buffer/")
    with describing(file.name):
        if file.data["format_version"] == 1:
            stored["slots/valid"] = ~stored.pop("slots/first")
        capacity, old_capacity = like.slots.reward.shape[1], int(file.data["capacity"])
        saved_at = int(file.data["num_timesteps"])
        _, filled = stored["slots/reward"].shape
    if capacity != old_capacity == filled:
        raise ModelFileError(
            f"{file.name} holds full rings of {filled} slots per environment, but this model's have {capacity}; "
            "load it with the buffer_size and the number of environments that it was written with."
        )
    if filled > capacity:
        raise ModelFileError(
            f"{file.name} has {filled} slots per environment, but this model has room for {capacity}."
        )
    counts = np.zeros(len(like.size), np.int32)
    target = {
        "slots": jax.tree.map(functools.partial(_head, filled), like.slots),
        "position": counts,
        "size": counts,
    }
    rows = restore_arrays(target, stored, what=f"The arrays of {file.name}")
    for name, most in (("position", old_capacity - 1), ("size", filled)):
        if rows[name].min(initial=0) < 0 or rows[name].max(initial=0) > most:
            raise ModelFileError(
                f"{file.name} is damaged: {name} must be within 0 and {most}, got {rows[name]}."
            )
    position = rows["position"] % capacity  # rings that were not full may be now
    if isinstance(like, HostBuffer):
        jax.tree.map(lambda ring, new: np.copyto(ring[:, :filled], new), like.slots, rows["slots"])
        return HostBuffer(like.slots, position.astype(np.int64), rows["size"].astype(np.int64)), saved_at
    slots = jax.tree.map(lambda ring, new: ring.at[:, :filled].set(new), like.slots, rows["slots"])
    return Buffer(slots, jnp.asarray(position), jnp.asarray(rows["size"])), saved_at


def _head(filled: int, ring: Any) -> np.ndarray[Any, Any]:
    """The shape and type of a ring's first slots, without the memory."""
    return np.broadcast_to(np.zeros((), ring.dtype), (len(ring), filled, *ring.shape[2:]))
