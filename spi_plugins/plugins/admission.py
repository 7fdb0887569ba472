"""Takes one plugin in: calls its hooks one by one, files what they register, and records how it went."""

import difflib
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias, cast

import pluggy

from spi_plugins import hookspecs
from spi_plugins.errors import DuplicatePluginError, PluginError
from spi_plugins.hookspecs import PLUGIN_API, PROJECT_NAME, Target
from spi_plugins.plugins.registry import KINDS, Kind, Owner, Registration, Registry

Status: TypeAlias = Literal["loaded", "incomplete", "broken", "disabled"]

# A script without a main guard calls sys.exit when it is imported; that must not end the host.
FAILURES = (Exception, SystemExit)

_HOOKS: Mapping[str, Kind] = {f"register_{kind}": kind for kind in KINDS}


class PluginRecord(NamedTuple):
    """What became of one plugin.

    Attributes:
        name: its entry point's name.
        distribution: the installed package that it came with; ``None`` if it was registered by hand.
        version: that package's version.
        status: ``loaded``; ``incomplete`` (in use, but a hook failed or is unknown); ``broken`` (nothing of
            it is in use); ``disabled``.
        error: why it is not loaded in full, in one line; empty otherwise.
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
    """A record, and the faults that its ``error`` tells of."""

    record: PluginRecord
    faults: tuple[BaseException, ...] = ()


def refuse(owner: Owner, fault: BaseException) -> Admission:
    """The admission of a plugin that could not even be looked into."""
    return Admission(PluginRecord(*owner, "broken", one_line(fault)), (fault,))


def admit(plugin: object, owner: Owner, registries: Mapping[Kind, Registry], *, contest: bool) -> Admission:
    """Call every hook of ``plugin`` by itself. A hook that fails adds nothing; the others still count.

    Args:
        plugin: a module or object with functions marked by ``@hookimpl``.
        owner: who it is.
        registries: where its offers go.
        contest: whether a name that another third party holds is taken from both (see ``Registry.contest``).

    Returns:
        Its record and the faults found. Nothing is raised for what a plugin does wrong.
    """
    # A manager for each plugin: pluggy stops a whole hook call at the first implementation that raises.
    manager = pluggy.PluginManager(PROJECT_NAME)
    manager.add_hookspecs(hookspecs)
    try:
        _check_api(plugin)
        manager.register(plugin, owner.plugin)
    except FAILURES as fault:
        return refuse(owner, fault)

    callers = sorted(manager.get_hookcallers(plugin) or (), key=lambda caller: caller.name)
    faults: list[BaseException] = []
    provided: list[str] = []
    for caller in callers:
        if not caller.has_spec():
            if not all(implementation.optionalhook for implementation in caller.get_hookimpls()):
                faults.append(_unknown_hook(caller.name))
            continue
        try:
            provided += _call(caller, owner, registries[_HOOKS[caller.name]], contest=contest)
        except FAILURES as fault:
            faults.append(fault)
    if not callers:
        faults.append(PluginError("it implements no hook; are its functions marked with @hookimpl?"))
    status: Status = "loaded" if not faults else "incomplete" if provided else "broken"
    error = "; ".join(map(one_line, faults))
    hooks = tuple(caller.name for caller in callers)
    return Admission(PluginRecord(*owner, status, error, hooks, tuple(provided)), tuple(faults))


def one_line(fault: BaseException) -> str:
    """The fault as one line; our own errors without their class, which the sentence makes plain."""
    text = " ".join(str(fault).split())
    return text if isinstance(fault, PluginError) else f"{type(fault).__name__}: {text}"


def _call(caller: pluggy.HookCaller, owner: Owner, registry: Registry, *, contest: bool) -> list[str]:
    """Call one hook of one plugin: all that it registers is taken, or nothing."""
    added: list[str] = []

    def register(name: str, target: Target, *, summary: str = "", **details: Any) -> None:
        unknown = details.keys() - _DETAILS.get(registry.kind, frozenset())
        if unknown:
            raise TypeError(f"{caller.name}'s register() takes no argument {', '.join(sorted(unknown))}")
        try:
            registry.add(Registration(registry.kind, name, target, owner, summary, **details))
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


#: What the ``register`` of a hook takes beside ``name``, ``target`` and ``summary``.
_DETAILS: Mapping[Kind, frozenset[str]] = {"envs": frozenset({"family"}), "wrappers": frozenset({"vector"})}


def _check_api(plugin: object) -> None:
    needed = getattr(plugin, "SPI_PLUGIN_API", PLUGIN_API)
    if cast(int, needed) > PLUGIN_API:
        raise PluginError(
            f"it needs version {needed} of the plugin API, this is {PLUGIN_API}; upgrade spi-plugins"
        )


def _unknown_hook(name: str) -> PluginError:
    close = difflib.get_close_matches(name, _HOOKS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"the hooks are {', '.join(_HOOKS)}"
    return PluginError(f"it implements an unknown hook {name!r}; {hint}")
