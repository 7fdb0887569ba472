"""SB3's device names as JAX devices."""

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
