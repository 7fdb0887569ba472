"""The plugin host of this process, and look-ups by name. Imports neither JAX nor torch: targets are strings."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from spi_plugins.errors import UnknownPluginError
from spi_plugins.plugins.admission import PluginRecord
from spi_plugins.plugins.host import PluginHost
from spi_plugins.plugins.registry import (
    KINDS,
    Kind,
    Registration,
    Registry,
    current_name,
    did_you_mean,
    resolve_target,
    unknown_name,
)

__all__ = [
    "KINDS",
    "Kind",
    "PluginHost",
    "PluginRecord",
    "Registration",
    "current_host",
    "current_name",
    "did_you_mean",
    "find_env",
    "find_family",
    "is_functional_member",
    "list_names",
    "make_env",
    "registry",
    "resolve",
    "resolve_wrapper",
    "unknown_name",
    "use_host",
]

_lock = threading.Lock()
_host: PluginHost | None = None


def current_host() -> PluginHost:
    """The host that look-ups ask, created on first use."""
    global _host
    with _lock:
        if _host is None:
            _host = PluginHost()
        return _host


@contextlib.contextmanager
def use_host(host: PluginHost) -> Iterator[PluginHost]:
    """Make ``host`` the current one, in all threads, until the context ends."""
    global _host
    with _lock:
        previous, _host = _host, host
    try:
        yield host
    finally:
        with _lock:
            _host = previous


def registry(kind: Kind) -> Registry:
    """Everything registered of one kind, for example ``"algorithms"``."""
    return current_host().registry(kind)


def list_names(kind: Kind) -> list[str]:
    """The registered names of one kind, sorted; families of environments by their prefix."""
    return list(registry(kind).names())


def resolve(kind: Kind, name: str) -> Callable[..., Any]:
    """Import what is registered under ``name``; raises as ``Registry.resolve`` does."""
    return registry(kind).resolve(name)


def resolve_wrapper(name: str, *, vector: bool = False) -> Callable[..., Any]:
    """Import a wrapper class, or with ``vector`` its counterpart for vector environments.

    Raises:
        UnknownPluginError: no wrapper has that name, or it has no counterpart.
        PluginLoadError: the target cannot be imported.
    """
    registration = registry("wrappers").get(name)
    if not vector:
        return resolve_target(registration, registration.target)
    if registration.vector is None:
        raise UnknownPluginError(
            f"The wrapper {name!r} of {registration.owner} has no counterpart for vector environments."
        )
    return resolve_target(registration, registration.vector)


def find_env(name: str) -> tuple[Registration, str | None]:
    """The registration for an environment's name and, for a family, what follows the colon.

    Raises:
        UnknownPluginError: no environment and no family has that name, or a family's name lacks its member.
        DuplicatePluginError: several plugins claim the name.
    """
    prefix, colon, member = name.partition(":")
    envs = registry("envs")
    if not colon:
        registration = envs.get(name)
        if registration.family:
            raise UnknownPluginError(f"{name!r} is a family of environments: write '{name}:<id>'.")
        return registration, None
    families = [known for known in envs.names() if envs.peek(known).family]
    if prefix not in families:
        raise UnknownPluginError(unknown_name("family of environments", prefix, families))
    return envs.get(prefix), member


def find_family(name: str) -> Registration | None:
    """The family that ``"<family>:<id>"`` belongs to; ``None`` for names of other forms and unknown prefixes."""
    prefix, colon, _ = name.partition(":")
    envs = registry("envs")
    if not colon or prefix not in envs.names():
        return None
    registration = envs.peek(prefix)
    return registration if registration.family else None


def is_functional_member(name: str) -> bool:
    """Whether a name is of a family whose members are functional environments, ``"gymnax:CartPole-v1"``."""
    family = find_family(name)
    return family is not None and family.functional


def make_env(name: str, **kwargs: Any) -> Any:
    """Build a registered environment.

    Args:
        name: a registered name such as ``"spi/CartPole-v0"``, or ``"<family>:<id>"`` such as
            ``"envpool:Pong-v5"``.
        **kwargs: arguments of its factory; those of a family of vector environments include ``num_envs`` and ``seed``.

    Returns:
        A ``FunctionalEnv`` or ``gymnasium.Env``; from a family, a ``FunctionalEnv`` or a vector environment.

    Raises:
        UnknownPluginError: nothing is registered under that name.
        PluginLoadError: its factory cannot be imported.
        MissingDependencyError: it needs an optional package.
    """
    registration, member = find_env(name)
    factory = resolve_target(registration, registration.target)
    return factory(**kwargs) if member is None else factory(member, **kwargs)
