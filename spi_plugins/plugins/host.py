"""The plugin host: loads and records plugins one by one, so that a broken one does not affect the others."""

import importlib.metadata
import os
import threading
import warnings
from collections.abc import Mapping
from typing import Literal, cast

from spi_plugins import builtins
from spi_plugins.builtins import RENAMED
from spi_plugins.errors import DuplicatePluginError, PluginError, PluginLoadError, PluginWarning
from spi_plugins.plugins.admission import Admission, PluginRecord, admit, refuse
from spi_plugins.plugins.discovery import Candidate, Switches, find_candidates
from spi_plugins.plugins.registry import BUILTINS, KINDS, Kind, Owner, Registry


class PluginHost:
    """Holds the plugins and what they registered. Loads them on first use, built-ins first.

    Args:
        discover: whether to load the plugins that are installed in this Python in addition to the built-in ones.
        environ: where the switches are read from; ``os.environ`` by default.
    """

    def __init__(self, *, discover: bool = True, environ: Mapping[str, str] | None = None) -> None:
        self._discover = discover
        self._environ = os.environ if environ is None else environ
        # Re-entrant: a plugin may well list algorithms while it is imported.
        self._lock = threading.RLock()
        self._state: Literal["new", "loading", "ready"] = "new"
        self._clear()

    def registry(self, kind: Kind) -> Registry:
        """What is registered of one kind, for example ``"algorithms"``. Loads the plugins on first use.

        Raises:
            PluginLoadError: a plugin is broken and ``SPI_STRICT_PLUGINS`` is set.
            ValueError: ``SPI_STRICT_PLUGINS`` is neither ``0`` nor ``1``.
        """
        self._load()
        return self._registries[kind]

    def records(self) -> tuple[PluginRecord, ...]:
        """One record for each plugin, built-ins first. Loads the plugins on first use; raises as ``registry`` does."""
        self._load()
        return tuple(self._records)

    def register(self, plugin: object, name: str) -> PluginRecord:
        """Add a plugin object by hand. Unlike an installed plugin, a faulty one raises and leaves nothing behind.

        Args:
            plugin: a module or object with functions marked by ``@hookimpl``.
            name: what it is called in messages.

        Returns:
            Its record.

        Raises:
            DuplicatePluginError: the plugin's name, or a name that it registers, is taken.
            PluginLoadError: a hook is unknown, raises, or takes unknown arguments.
        """
        self._load()
        with self._lock:
            owner = Owner(name)
            admission = self._admit(plugin, owner, contest=False)
            if admission.faults:
                for entry in admission.record.provides:
                    kind, _, entry_name = entry.partition(":")
                    self._registries[cast(Kind, kind)].discard([entry_name])
                raise _error(admission)
            self._records.append(admission.record)
            return admission.record

    def _clear(self) -> None:
        self._registries: dict[Kind, Registry] = {
            kind: Registry(kind, RENAMED.get(kind, {})) for kind in KINDS
        }
        self._records: list[PluginRecord] = []

    def _load(self) -> None:
        if self._state == "ready":
            return
        with self._lock:
            if self._state != "new":  # another thread was faster, or a plugin asks while it is being loaded
                return
            self._state = "loading"
            try:
                switches = Switches.read(self._environ)
                self._file(self._admit(builtins, _builtin_owner(), contest=False), strict=True)
                if self._discover:
                    self._load_installed(switches)
            except BaseException:
                self._clear()
                self._state = "new"
                raise
            self._state = "ready"

    def _load_installed(self, switches: Switches) -> None:
        found: set[str | None] = set()
        for candidate in find_candidates():
            found |= {candidate.owner.plugin, candidate.owner.distribution}
            reason = switches.reason_to_skip(candidate.owner)
            if reason is not None:
                self._records.append(PluginRecord(*candidate.owner, "disabled", reason))
            else:
                self._file(self._load_candidate(candidate), strict=switches.strict)
        for name in sorted((switches.only or frozenset()) - found):
            fault = PluginError("SPI_LOAD_PLUGINS names it, but no such plugin is installed")
            self._file(refuse(Owner(name), fault), strict=switches.strict)

    def _load_candidate(self, candidate: Candidate) -> Admission:
        if candidate.entry_point is None:
            return refuse(candidate.owner, candidate.error or PluginError("its metadata cannot be read"))
        try:
            plugin = candidate.entry_point.load()
        except KeyboardInterrupt:
            raise
        except BaseException as fault:  # a script without a main guard may even call sys.exit
            return refuse(candidate.owner, fault)
        return self._admit(plugin, candidate.owner, contest=True)

    def _admit(self, plugin: object, owner: Owner, *, contest: bool) -> Admission:
        for record in self._records:
            if record.name == owner.plugin and record.status != "disabled":
                fault = DuplicatePluginError(
                    f"{record.owner.subject} and {owner} have the same name; uninstall one"
                )
                return refuse(owner, fault)
        return admit(plugin, owner, self._registries, contest=contest)

    def _file(self, admission: Admission, *, strict: bool) -> None:
        """Keep the record. A fault raises if ``strict`` and warns otherwise."""
        if admission.faults and strict:
            raise _error(admission)
        self._records.append(admission.record)
        if admission.faults:
            # The caller is whoever asked first, so no stack level would point at the culprit.
            warnings.warn(_sentence(admission.record), PluginWarning, stacklevel=2)


def _builtin_owner() -> Owner:
    try:
        version = importlib.metadata.version("spi-plugins")
    except importlib.metadata.PackageNotFoundError:  # run from a source tree that is not installed
        return Owner(BUILTINS)
    return Owner(BUILTINS, "spi-plugins", version)


def _sentence(record: PluginRecord) -> str:
    return f"{record.owner.subject} is {record.status}: {record.error}"


def _error(admission: Admission) -> PluginError:
    """What to raise for a faulty plugin; a duplicate's message names its owners already."""
    first = admission.faults[0]
    if isinstance(first, DuplicatePluginError):
        return first
    error = PluginLoadError(_sentence(admission.record))
    error.__cause__ = first
    return error
