"""``buffers`` in files mapped into memory, for buffers that do not fit on the device.

Layout and functions are those of ``buffers``, except that slots are written in place, and that NumPy draws the windows
of many gradient steps, to be sent to the device at once. The files disappear with the process.
"""

import errno
import functools
import math
import os
import shutil
import tempfile
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from spi_plugins import buffers
from spi_plugins.buffers import Slot, Windows
from spi_plugins.types import ObservationSpec


class HostBuffer(NamedTuple):
    """The rings of all environments as NumPy arrays over mapped files."""

    slots: Slot  # arrays ``[B, capacity, ...]``
    position: NDArray[np.int64]  # where each ring is written next, ``[B]``
    size: NDArray[np.int64]  # filled slots of each ring, ``[B]``


def init(observations: ObservationSpec, action_size: int, n_envs: int, capacity: int) -> HostBuffer:
    """An empty buffer, whose disk space is reserved: writing to a mapped file on a full disk would kill the process.

    Raises:
        OSError: the disk is too full.
    """
    like = jax.eval_shape(functools.partial(buffers.init, observations, action_size, n_envs, capacity))
    total = sum(_bytes(leaf) for leaf in jax.tree.leaves(like.slots))

    def mapped(leaf: Any) -> Any:
        # The file has no name: its space is freed when the array or the process is gone.
        with tempfile.TemporaryFile(prefix="spi-plugins-replay-") as file:
            os.posix_fallocate(file.fileno(), 0, _bytes(leaf))
            return np.memmap(file, leaf.dtype, "r+", shape=leaf.shape)

    try:
        if total > shutil.disk_usage(tempfile.gettempdir()).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        slots = jax.tree.map(mapped, like.slots)
    except OSError as error:
        raise OSError(
            error.errno,
            f"The replay buffer's {total} bytes do not fit: {error.strerror}; set TMPDIR to another folder, or make "
            "buffer_size smaller",
            tempfile.gettempdir(),
        ) from error
    zeros = np.zeros(n_envs, np.int64)
    return HostBuffer(slots, zeros, zeros.copy())


def _bytes(leaf: Any) -> int:
    return int(math.prod(leaf.shape) * leaf.dtype.itemsize)


def add(buffer: HostBuffer, slot: Slot, written: NDArray[np.bool_]) -> HostBuffer:
    """Write one slot of each environment where ``written``, in place."""
    capacity = buffer.slots.reward.shape[1]
    rows = np.flatnonzero(written)
    place = buffer.position[rows]

    def write(ring: Any, new: Any) -> None:
        ring[rows, place] = np.asarray(new)[rows]

    jax.tree.map(write, buffer.slots, slot)
    buffer.position[rows] = (place + 1) % capacity
    buffer.size[rows] = np.minimum(buffer.size[rows] + 1, capacity)
    return buffer


def sample(
    buffer: HostBuffer, seed: NDArray[np.uint32], n_batches: int, batch_size: int, horizon: int
) -> Windows:
    """Windows for ``n_batches`` gradient steps, which add an axis in front of those of ``buffers.sample``."""
    capacity = buffer.slots.reward.shape[1]
    ends = np.cumsum(np.maximum(buffer.size - horizon, 0))
    index = np.random.default_rng(seed).integers(0, ends[-1], (n_batches, batch_size))
    env = np.searchsorted(ends, index, side="right")
    start = index - np.where(env > 0, ends[env - 1], 0)
    first = buffer.position[env] - buffer.size[env] + start
    place = (first[:, None] + np.arange(horizon + 1)[None, :, None]) % capacity
    env = np.broadcast_to(env[:, None], place.shape)
    slots = jax.tree.map(lambda ring: np.asarray(ring[env, place]), buffer.slots)
    return jax.vmap(buffers.windows)(slots)
