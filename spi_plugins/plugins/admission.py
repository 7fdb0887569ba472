"""Admits one plugin: calls its hooks one by one, registers what they offer, and records how it went."""

import difflib
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import pluggy

from spi_plugins import hookspecs
from spi_plugins.errors import DuplicatePluginError, PluginError
from spi_plugins.hookspecs import PLUGIN_API, PROJECT_NAME, Target
from spi_plugins.plugins.registry import KINDS, Kind, Owner, Registration, Registry, describe, one_line

Status: TypeAlias = Literal["loaded", "incomplete", "broken", "disabled"]

_HOOKS: Mapping[str, Kind] = {f"register_{kind}": kind for kind in KINDS}
# What a hook's ``register`` takes in addition to ``name``, ``target`` and ``summary``.
_DETAILS: Mapping[Kind, frozenset[str]] = {
    "envs": frozenset({"family", "functional"}),
    "wrappers": frozenset({"vector"}),
}


class PluginRecord(NamedTuple):
    """How loading one plugin went.

    Attributes:
        name: its entry point's name.
        distribution: the installed package that it came with; ``None`` if it was registered by hand.
        version: that package's version.
        status: ``loaded``; ``incomplete`` (in use, but a hook failed or is unknown); ``broken`` (nothing of
            it is in use); ``disabled``.
        error: why it is not fully loaded, in one line; empty otherwise.
        hooks: the hooks that it implements, unknown ones included.
        provides: what it registered, as ``"kind:name"``.
    """

    name: str
    distribution: str | None
    version: str | None
    status: Status
    error: str = ""
    hooks: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()

    @property
    def owner(self) -> Owner:
        """The plugin as messages name it."""
        return Owner(self.name, self.distribution, self.version)


class Admission(NamedTuple):
    """A record, and the faults that its ``error`` describes."""

    record: PluginRecord
    faults: tuple[BaseException, ...] = ()


def refuse(owner: Owner, fault: BaseException) -> Admission:
    """The admission of a plugin of which nothing can be used."""
    return Admission(PluginRecord(*owner, "broken", describe(fault)), (fault,))


def admit(plugin: object, owner: Owner, registries: Mapping[Kind, Registry], *, contest: bool) -> Admission:
    """Call each hook of ``plugin`` separately. A hook that fails adds nothing; the others still count.

    With ``contest``, a name that another third party holds is taken from both (see ``Registry.contest``). Returns the
    record and the faults found; apart from Ctrl-C, nothing that the plugin raises gets out.
    """
    # A manager for each plugin: pluggy stops a whole hook call at the first implementation that raises.
    manager = pluggy.PluginManager(PROJECT_NAME)
    manager.add_hookspecs(hookspecs)
    try:
        _check_api(plugin)
        manager.register(plugin, owner.plugin)
        callers = sorted(manager.get_hookcallers(plugin) or (), key=lambda caller: caller.name)
    except KeyboardInterrupt:
        raise
    except BaseException as fault:
        return refuse(owner, fault)

    faults: list[BaseException] = []
    provided: list[str] = []
    for caller in callers:
        if not caller.has_spec():
            if not all(implementation.optionalhook for implementation in caller.get_hookimpls()):
                faults.append(_unknown_hook(caller.name))
            continue
        try:
            provided += _call(caller, owner, registries[_HOOKS[caller.name]], contest=contest)
        except KeyboardInterrupt:
            raise
        except BaseException as fault:
            faults.append(fault)
    if not callers:
        faults.append(PluginError("it implements no hook; are its functions marked with @hookimpl?"))
    status: Status = "loaded" if not faults else "incomplete" if provided else "broken"
    error = "; ".join(map(describe, faults))
    hooks = tuple(caller.name for caller in callers)
    return Admission(PluginRecord(*owner, status, error, hooks, tuple(provided)), tuple(faults))


def _call(caller: pluggy.HookCaller, owner: Owner, registry: Registry, *, contest: bool) -> list[str]:
    """Call one hook of one plugin: everything that it registers is taken, or nothing."""
    added: list[str] = []

    def register(name: str, target: Target, *, summary: str = "", **details: Any) -> None:
        unknown = details.keys() - _DETAILS.get(registry.kind, frozenset())
        if unknown:
            raise TypeError(f"{caller.name}'s register() takes no argument {', '.join(sorted(unknown))}")
        if not isinstance(summary, str):
            raise TypeError(f"summary must be a string, got {summary!r}")
        try:
            registry.add(Registration(registry.kind, name, target, owner, one_line(summary), **details))
        except DuplicatePluginError as error:
            if contest:
                registry.contest(name, error)
            raise
        added.append(name)

    try:
        caller(register=register)
    except BaseException:
        registry.discard(added)
        raise
    return [f"{registry.kind}:{name}" for name in added]


def _check_api(plugin: object) -> None:
    needed = getattr(plugin, "SPI_PLUGIN_API", PLUGIN_API)
    if not isinstance(needed, int):
        raise PluginError(f"its SPI_PLUGIN_API must be an integer, got {needed!r}")
    if needed > PLUGIN_API:
        raise PluginError(
            f"it needs version {needed} of the plugin API, this is {PLUGIN_API}; upgrade spi-plugins"
        )


def _unknown_hook(name: str) -> PluginError:
    close = difflib.get_close_matches(name, _HOOKS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"the hooks are {', '.join(_HOOKS)}"
    return PluginError(f"it implements an unknown hook {name!r}; {hint}")
