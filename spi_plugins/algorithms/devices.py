"""SB3's device names, and numbers of devices, as places for arrays; and their memory."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from spi_plugins.checks import as_integer
from spi_plugins.sharding import AXIS, on_mesh, place
from spi_plugins.types import PyTree

Place: TypeAlias = jax.Device | NamedSharding


class Devices(NamedTuple):
    """What a model computes on: one device, or a mesh of several among which the copies of the environment are divided.

    Attributes:
        first: the only one, or the first one of the mesh that this process can address.
        mesh: with one axis; ``None`` for one device.
    """

    first: jax.Device
    mesh: Mesh | None = None

    @property
    def number(self) -> int:
        """How many there are."""
        return 1 if self.mesh is None else self.mesh.size

    @property
    def name(self) -> str:
        """For people."""
        platform = self.first.platform
        return f"{platform} device" if self.mesh is None else f"{self.number} {platform} devices"

    @property
    def whole(self) -> Place:
        """The place of an array that every device holds whole."""
        return self.first if self.mesh is None else place(self.mesh, divided=False)

    @property
    def divided(self) -> Place:
        """The place of an array whose first axis, that of the copies, is divided."""
        return self.first if self.mesh is None else place(self.mesh, divided=True)

    @property
    def read(self) -> Place | None:
        """The place of results that the host reads: where they arise, unless other processes have parts of them."""
        return self.whole if self.spans_processes else None

    @property
    def spans_processes(self) -> bool:
        """Whether other processes have some of them."""
        return self.mesh is not None and bool(self.mesh.is_multi_process)

    @property
    def memory(self) -> int:
        """Bytes of all together; virtual devices of one CPU share the machine's."""
        shared = self.mesh is None or self.first.platform == "cpu"
        return device_bytes(self.first) * (1 if shared else self.number)

    def put(self, tree: PyTree, place: Place) -> PyTree:
        """Arrays at a place; in several processes, all of them bring the same."""
        if not self.spans_processes:
            return jax.device_put(tree, place)
        return jax.jit(_same, out_shardings=place)(tree)

    def jit(
        self, function: Callable[..., Any], results: Callable[[Place, Place], Any], **options: Any
    ) -> Any:
        """Compile a function for these devices.

        Args:
            function: what to compile.
            results: ``(whole, divided) -> a prefix of the results' tree`` with the places of what the function
                returns, so that its next call, which takes them, need not compile again.
            options: those of ``jax.jit``.
        """
        if self.mesh is None:
            return jax.jit(function, **options)
        places = results(self.whole, self.divided)
        return jax.jit(on_mesh(function, self.mesh), out_shardings=places, **options)

    def spread(self, tree: PyTree) -> PyTree:
        """Send the host's arrays ``[B, ...]`` to the devices, each its part where their number divides ``B``.

        One device takes them as they are: ``jit`` sends them faster.
        """
        if self.mesh is None:
            return tree
        return jax.tree.map(lambda x: self.put(x, self.whole if len(x) % self.number else self.divided), tree)

    def near(self, tree: PyTree) -> PyTree:
        """Whole arrays as ``first`` holds them, for what concerns one device."""
        if self.mesh is None:
            return tree
        return jax.tree.map(lambda x: x.addressable_data(0), tree)

    def check_divides(self, name: str, number: int) -> None:
        """Refuse a number of copies or rows that cannot be divided evenly.

        Raises:
            ValueError: names both numbers.
        """
        if number % self.number:
            raise ValueError(
                f"{name}={number} cannot be divided evenly among {self.number} devices: {name} must be a multiple of "
                f"{self.number}, or device= another number of devices."
            )


def _same(tree: PyTree) -> PyTree:
    return tree


def writes(path: Any) -> bool:
    """Whether this process writes to a path: of several, the first one does; all write to files of their own memory."""
    return not isinstance(path, str | os.PathLike) or jax.process_index() == 0


def resolve_devices(device: Any) -> Devices:
    """What a model computes on, from SB3's spelling or a number of devices.

    Args:
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or JAX's own device for one; ``"all"`` or a number for
            as many of JAX's default backend.

    Raises:
        ValueError: so many are not available.
    """
    if isinstance(device, Devices):
        return device
    number = _number(device)
    if number is None:
        return Devices(resolve_device(device))
    found = jax.devices()
    if jax.process_count() > 1 and number != len(found):
        raise ValueError(
            f"device={device!r}: {jax.process_count()} processes train on all of their {len(found)} devices together; "
            "device must be 'all'."
        )
    if not 1 <= number <= len(found):
        raise ValueError(
            f"device={device!r}: JAX finds {len(found)} {found[0].platform} devices, not {number}."
        )
    if number == 1:
        return Devices(found[0])
    return Devices(jax.local_devices()[0], Mesh(np.asarray(found[:number]), (AXIS,)))


def _number(device: Any) -> int | None:
    """A number of devices, if ``device`` is one."""
    if device == "all":
        return len(jax.devices())
    if isinstance(device, str) and device.isdecimal():
        return int(device)
    return as_integer("device", device, low=1) if isinstance(device, int | np.integer) else None


def resolve_device(device: Any) -> jax.Device:
    """A JAX device from SB3's spelling: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, or JAX's own.

    Raises:
        ValueError: the device is not available.
    """
    if isinstance(device, jax.Device):
        return device
    name, _, index = str(device).partition(":")
    if name == "auto":
        return jax.local_devices()[0]
    try:
        return jax.local_devices(backend={"cuda": "gpu"}.get(name, name))[int(index or 0)]
    except (RuntimeError, IndexError, ValueError) as error:
        known = sorted({d.platform for d in jax.devices()} | {"cpu"})
        raise ValueError(
            f"device={device!r} is not available; JAX finds {', '.join(known)} here. Allowed are 'auto', "
            "'cpu', 'cuda' and 'cuda:N' (install spi-plugins[cuda]), and 'all' or a number for several."
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
