"""Maps names to targets: one registry for each kind of thing that plugins offer."""

import difflib
import importlib
import re
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from spi_plugins.errors import (
    DuplicatePluginError,
    MissingDependencyError,
    PluginError,
    PluginLoadError,
    SPIError,
    UnknownPluginError,
)
from spi_plugins.hookspecs import Target

Kind: TypeAlias = Literal[
    "algorithms", "planners", "constraints", "world_models", "envs", "wrappers", "callbacks", "commands"
]
KINDS: tuple[Kind, ...] = get_args(Kind)

#: Name of the built-in plugin.
BUILTINS = "builtins"

#: What messages call one thing of a kind.
SINGULAR: Mapping[Kind, str] = MappingProxyType(
    {
        "algorithms": "algorithm",
        "planners": "planner",
        "constraints": "constraint",
        "world_models": "world model",
        "envs": "environment",
        "wrappers": "wrapper",
        "callbacks": "callback",
        "commands": "command",
    }
)


class Owner(NamedTuple):
    """Who registered something, for messages."""

    plugin: str
    distribution: str | None = None
    version: str | None = None

    def __str__(self) -> str:
        if self.distribution is None:
            return f"plugin {self.plugin!r}"
        return f"plugin {self.plugin!r} ({self.distribution} {self.version or 'of unknown version'})"

    @property
    def subject(self) -> str:
        """The same, capitalized to start a sentence."""
        return f"P{str(self)[1:]}"


class Registration(NamedTuple):
    """One offer of one plugin.

    Attributes:
        kind: the registry that holds it, for example ``"algorithms"``.
        name: what users write.
        target: ``"module:attribute"``, or the object itself.
        owner: the plugin that offers it.
        summary: one line for listings.
        family: for environments, whether the name is the prefix of many (``"envpool"``).
        functional: for families, whether the members are ``FunctionalEnv`` rather than vector environments.
        vector: for wrappers, the target of the counterpart for vector environments.
    """

    kind: Kind
    name: str
    target: Target
    owner: Owner
    summary: str = ""
    family: bool = False
    functional: bool = False
    vector: Target | None = None

    @property
    def noun(self) -> str:
        """What messages call one thing of its kind."""
        return SINGULAR[self.kind]


class Registry:
    """The offers of one kind, by name. Thread-safe.

    A name that two plugins claim belongs to neither: looking it up raises, because an experiment must not depend on
    which of them happened to load first.

    Args:
        kind: what is registered, for example ``"algorithms"``.
        renamed: old names and their replacements. An old name still works, with a warning, unless a plugin
            registers it.
    """

    def __init__(self, kind: Kind, renamed: Mapping[str, str] = MappingProxyType({})) -> None:
        self.kind: Kind = kind
        self._renamed = renamed
        self._lock = threading.Lock()
        self._registrations: dict[str, Registration] = {}
        self._contested: dict[str, DuplicatePluginError] = {}

    def add(self, registration: Registration) -> None:
        """Take one offer.

        Raises:
            PluginError: the name, a target or another field is malformed.
            DuplicatePluginError: the name is taken; both owners are named, and the first keeps the name.
        """
        _check_name(registration)
        _check_target(registration, registration.target)
        if registration.vector is not None:
            _check_target(registration, registration.vector)
        with self._lock:
            holder = self._registrations.get(registration.name)
            if holder is not None:
                raise _duplicate(holder, registration)
            self._registrations[registration.name] = registration

    def contest(self, name: str, error: DuplicatePluginError) -> None:
        """Take ``name`` from two third parties that both claim it: ``get`` raises ``error`` from now on.

        A built-in keeps its name whoever else claims it.
        """
        with self._lock:
            holder = self._registrations.get(name)
            if holder is not None and holder.owner.plugin != BUILTINS:
                self._contested[name] = error

    def discard(self, names: Iterable[str]) -> None:
        """Forget what is registered under ``names``."""
        with self._lock:
            for name in names:
                self._registrations.pop(name, None)

    def names(self) -> tuple[str, ...]:
        """The registered names, sorted."""
        with self._lock:
            return tuple(sorted(self._registrations))

    def peek(self, name: str) -> Registration:
        """The offer that holds ``name``, even if the name is contested, for listings; raises ``UnknownPluginError``."""
        with self._lock:
            registration = self._registrations.get(name)
        if registration is None:
            raise UnknownPluginError(unknown_name(SINGULAR[self.kind], name, self.names()))
        return registration

    def get(self, name: str) -> Registration:
        """The offer under ``name``.

        Raises:
            UnknownPluginError: there is none; the message names the closest.
            DuplicatePluginError: several plugins claim the name.
        """
        if name in self._renamed and name not in self.names():
            name = current_name(SINGULAR[self.kind], name, self._renamed)
        registration = self.peek(name)
        with self._lock:
            if name in self._contested:
                raise self._contested[name]
        return registration

    def resolve(self, name: str) -> Callable[..., Any]:
        """Import what is registered under ``name``; raises as ``get`` and ``resolve_target`` do."""
        registration = self.get(name)
        return resolve_target(registration, registration.target)


def current_name(noun: str, name: str, renamed: Mapping[str, str]) -> str:
    """The current name for ``name``, with a ``DeprecationWarning`` that names the ``noun`` if it is an old one."""
    if name not in renamed:
        return name
    new = renamed[name]
    warnings.warn(f"The {noun} {name!r} is now called {new!r}.", DeprecationWarning, stacklevel=2)
    return new


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``" Did you mean 'x'?"`` with the known names that are closest to ``name``; empty if none is close."""
    # Compared in lower case: 'cartpole' should find 'CartPole'.
    by_lower = {candidate.lower(): candidate for candidate in sorted(known)}
    close = difflib.get_close_matches(str(name).lower(), by_lower, n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(repr(by_lower[match]) for match in close)}?" if close else ""


def unknown_name(noun: str, name: str, known: Iterable[str]) -> str:
    """The sentence for an unknown ``name`` of a ``noun`` (in the singular), with the closest of the ``known`` names."""
    known = sorted(known)
    listed = f"Known: {', '.join(known)}." if known else "None is registered."
    hint = did_you_mean(name, known)
    return f"No {noun} named {name!r}.{hint} {listed} A missing one may come with a package that is not installed."


def resolve_target(registration: Registration, target: Target) -> Callable[..., Any]:
    """Import a target of ``registration`` (its own or the vector counterpart's); an object stands for itself.

    Raises:
        PluginLoadError: it cannot be imported, or cannot be called.
        MissingDependencyError: it needs an optional package; passed on unchanged, because it names the pip command.
    """
    if not isinstance(target, str):
        return target
    module, _, attributes = target.partition(":")
    try:
        resolved: Any = importlib.import_module(module)
        for attribute in attributes.split("."):
            resolved = getattr(resolved, attribute)
        if not callable(resolved):
            raise TypeError(f"a {registration.noun}'s target must be a class or function, got {resolved!r}")
    except (MissingDependencyError, KeyboardInterrupt):
        raise
    except BaseException as error:  # some modules call sys.exit when they are imported
        raise PluginLoadError(
            f"The {registration.noun} {registration.name!r} of {registration.owner} cannot be loaded from "
            f"{target!r}: {describe(error)}"
        ) from error
    return resolved  # type: ignore[no-any-return]


def describe(fault: BaseException) -> str:
    """The fault in one line; our own errors without their class, because their sentence says it all."""
    try:
        text = one_line(str(fault))
    except Exception:
        text = "(its message cannot be read)"
    return text if isinstance(fault, SPIError) else f"{type(fault).__name__}: {text}"


def one_line(text: str) -> str:
    """The text in one line that any terminal can show."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _check_name(registration: Registration) -> None:
    name = registration.name
    # A colon separates a family from its member, and Gymnasium's module from its id; a run's folder has the
    # algorithm's name, so no name may lead out of it.
    pattern = r"(?![-.])[^\s:/\\]+(/[^\s:/\\]+)?" if registration.kind == "envs" else r"(?![-.])[^\s:/\\]+"
    if not isinstance(name, str) or not name.isprintable() or not re.fullmatch(pattern, name):
        raise PluginError(
            f"{registration.owner.subject} offers the {registration.noun} {name!r}, but a name is a string "
            "without spaces, colons and slashes, for example 'my_spi'; only an environment's has a namespace, "
            "as in 'mine/Corridor-v0'."
        )
    for field in ("family", "functional"):
        if not isinstance(getattr(registration, field), bool):
            raise PluginError(
                f"{registration.owner.subject} must give {field} as a bool, got {getattr(registration, field)!r}."
            )
    if registration.functional and not registration.family:
        raise PluginError(
            f"{registration.owner.subject} offers {registration.name!r} with functional=True, which is for families: "
            "the factory of a single environment shows by what it returns whether it is functional."
        )


def _check_target(registration: Registration, target: Target) -> None:
    if callable(target):
        return
    parts = target.split(":") if isinstance(target, str) else []
    if len(parts) != 2 or not all(piece.isidentifier() for part in parts for piece in part.split(".")):
        raise PluginError(
            f"{registration.owner.subject} registers the {registration.noun} {registration.name!r} with the "
            f"target {target!r}, but a target is a string 'package.module:attribute', a class or a function."
        )


def _duplicate(holder: Registration, newcomer: Registration) -> DuplicatePluginError:
    noun = holder.noun
    if holder.owner == newcomer.owner:
        return DuplicatePluginError(f"{holder.owner.subject} registers the {noun} {holder.name!r} twice.")
    return DuplicatePluginError(
        f"{holder.owner.subject} and {newcomer.owner} both register the {noun} {holder.name!r}. Uninstall "
        f"one, switch it off (SPI_DISABLE_PLUGINS={newcomer.owner.plugin}), or ask its author to rename it."
    )
