"""SB3's device names as JAX devices, and their memory."""

import os
from typing import Any

import jax


def resolve_device(device: Any) -> jax.Device:
    """A JAX device from SB3's spelling: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, or JAX's own.

    Raises:
        ValueError: the device is not available.
    """
    if isinstance(device, jax.Device):
        return device
    name, _, index = str(device).partition(":")
    if name == "auto":
        return jax.devices()[0]
    try:
        return jax.devices({"cuda": "gpu"}.get(name, name))[int(index or 0)]
    except (RuntimeError, IndexError, ValueError) as error:
        known = sorted({d.platform for d in jax.devices()} | {"cpu"})
        raise ValueError(
            f"device={device!r} is not available; JAX finds {', '.join(known)} here. Allowed are 'auto', "
            "'cpu', 'cuda' and 'cuda:N' (install spi-plugins[cuda])."
        ) from error


def check_memory(what: str, size: int, device: jax.Device) -> None:
    """Refuse what needs more memory than a device has.

    Raises:
        ValueError: it does; the message says how much.
    """
    if size > device_bytes(device):
        raise ValueError(f"{what} takes {size} bytes, more than the memory of {device}; make it smaller.")


def device_bytes(device: jax.Device) -> int:
    """A device's memory; for the CPU, the machine's."""
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
