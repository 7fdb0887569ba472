"""Where the replay buffer lives: on the device, or in mapped files if it would not fit."""

import functools
from typing import TYPE_CHECKING

import jax
import numpy as np

from spi_plugins import buffers, host_buffers
from spi_plugins.actions import stored_size
from spi_plugins.buffers import Buffer, Windows
from spi_plugins.host_buffers import HostBuffer

if TYPE_CHECKING:
    from spi_plugins.algorithms.replay_updates import ReplayUpdates

# The share of the device's memory that a buffer may take; networks, plans and XLA need the rest.
_SHARE = 0.5


def _capacity(model: "ReplayUpdates") -> int:
    """Slots of each environment."""
    return max(model.buffer_size // model.n_envs, 1)


def _total_bytes(model: "ReplayUpdates") -> int:
    observations, actions = model._specs()
    return buffers.slot_bytes(observations, stored_size(actions)) * _capacity(model) * model.n_envs


def lives_on_host(model: "ReplayUpdates") -> bool:
    """Whether the model's buffer is, or would be, in mapped files."""
    return model.buffer_device == "host" or (
        model.buffer_device == "auto" and _total_bytes(model) > _SHARE * model.devices.memory
    )


def empty_buffer(model: "ReplayUpdates") -> Buffer | HostBuffer:
    """The buffer that the model's arguments ask for."""
    observations, actions = model._specs()
    capacity, total = _capacity(model), _total_bytes(model)
    if lives_on_host(model):
        return host_buffers.init(observations, stored_size(actions), model.n_envs, capacity)
    if total > model.devices.memory:
        raise ValueError(
            f"buffer_size={model.buffer_size} takes {total} bytes, more than the memory of {model.devices.name}; make "
            "it smaller, or use buffer_device='host'."
        )
    fill = functools.partial(buffers.init, observations, stored_size(actions), model.n_envs, capacity)
    if model.devices.mesh is not None:  # no device ever holds all of it
        empty: Buffer = model.devices.jit(fill, lambda whole, divided: divided)()
        return empty
    with jax.default_device(model.jax_device):
        return fill()


def can_sample(buffer: Buffer | HostBuffer, horizon: int) -> bool:
    """Whether the buffer holds a window of ``horizon`` steps."""
    return bool((np.asarray(buffer.size) > horizon).any())


def training_data(
    buffer: Buffer | HostBuffer, key: jax.Array, n_updates: int, batch_size: int, horizon: int
) -> Buffer | Windows:
    """What ``agent.update`` takes for ``n_updates`` gradient steps: a device buffer, or windows of a host buffer."""
    if isinstance(buffer, Buffer):
        return buffer
    seed = np.asarray(jax.random.key_data(key)).ravel()
    return host_buffers.sample(buffer, seed, n_updates, batch_size, horizon)
