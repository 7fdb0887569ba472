"""The file of a replay buffer: plain arrays, as many slots as are filled, written atomically."""

import io
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spi_plugins.archive import PathOrFile, write_atomically
from spi_plugins.arrays import flatten_arrays, restore_arrays
from spi_plugins.buffers import Buffer
from spi_plugins.errors import ModelFileError
from spi_plugins.host_buffers import HostBuffer

FORMAT = "spi-plugins replay 1"


def write_replay_file(target: PathOrFile, buffer: Buffer | HostBuffer, num_timesteps: int) -> None:
    """Write a buffer to a path (atomically, missing folders are made) or into an open binary file.

    Args:
        target: where.
        buffer: its rings are cut after the fullest one's last slot.
        num_timesteps: of the model that it belongs to.
    """
    filled = int(np.max(buffer.size, initial=0))
    cut = {
        "slots": jax.tree.map(lambda ring: np.asarray(ring[:, :filled]), buffer.slots),
        "position": np.asarray(buffer.position, np.int32),
        "size": np.asarray(buffer.size, np.int32),
    }
    arrays = {f"buffer/{key}": value for key, value in flatten_arrays(cut).items()}
    # The format says where an episode begins.
    arrays["buffer/slots/first"] = ~arrays.pop("buffer/slots/valid")
    content = io.BytesIO()
    capacity = buffer.slots.reward.shape[1]
    np.savez(content, format=FORMAT, capacity=capacity, num_timesteps=num_timesteps, **arrays)  # type: ignore[arg-type]
    if isinstance(target, str | os.PathLike):
        write_atomically(pathlib.Path(target), content.getbuffer())
    else:
        target.write(content.getbuffer())


def read_replay_file(source: PathOrFile, like: Buffer | HostBuffer) -> Buffer:
    """Read a buffer.

    Args:
        source: what ``write_replay_file`` wrote.
        like: an empty buffer of the model that takes it; its capacity may be another if all fits.

    Raises:
        FileNotFoundError: there is no such file.
        ModelFileError: it is damaged, or does not fit the model.
    """
    if isinstance(source, str | os.PathLike) and not pathlib.Path(source).is_file():
        raise FileNotFoundError(f"There is no replay buffer {source}.")
    try:
        # Read whole: of a damaged file, NumPy would leave the file open.
        content = (
            pathlib.Path(source).read_bytes() if isinstance(source, str | os.PathLike) else source.read()
        )
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        if str(arrays.get("format")) != FORMAT:
            raise ModelFileError(f"{source} is no replay buffer of spi-plugins.")
        stored = {
            key.removeprefix("buffer/"): value for key, value in arrays.items() if key.startswith("buffer/")
        }
        stored["slots/valid"] = ~stored.pop("slots/first")
        capacity, filled = like.slots.reward.shape[1], stored["slots/reward"].shape[1]
    except ModelFileError:
        raise
    except Exception as error:  # zip and npy readers raise a dozen different types on damaged input
        raise ModelFileError(
            f"{source} is damaged or no replay buffer: {type(error).__name__}: {error}."
        ) from error
    if capacity != int(arrays["capacity"]) and filled == int(arrays["capacity"]):
        raise ModelFileError(
            f"{source} holds full rings of {filled} slots for each environment, this model's have {capacity}; "
            "load it with the buffer_size and the number of environments that it was made with."
        )
    if filled > capacity:
        raise ModelFileError(
            f"{source} has {filled} slots for each environment, this model room for {capacity}."
        )
    padded = {
        key: _pad(value, capacity) if key.startswith("slots/") else value for key, value in stored.items()
    }
    shapes = jax.eval_shape(
        lambda: Buffer(like.slots, *(jnp.zeros(len(like.size), jnp.int32) for _ in range(2)))
    )
    buffer: Buffer = restore_arrays(shapes, padded, what=f"The arrays of {source}")
    # Rings that were not full may be now.
    return buffer._replace(position=buffer.position % capacity)


def _pad(ring: np.ndarray[Any, Any], capacity: int) -> np.ndarray[Any, Any]:
    padded = np.zeros((len(ring), capacity, *ring.shape[2:]), ring.dtype)
    padded[:, : ring.shape[1]] = ring
    return padded
