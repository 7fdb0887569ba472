"""Finds installed plugins, and reads the environment variables that select them. Loads nothing."""

import importlib.metadata
import re
from collections.abc import Mapping
from typing import NamedTuple

from spi_plugins.errors import PluginError
from spi_plugins.hookspecs import PROJECT_NAME
from spi_plugins.plugins.registry import Owner, one_line

#: The entry-point group of plugins.
ENTRY_POINT_GROUP = PROJECT_NAME
_VALUE = re.compile(r"\w+(\.\w+)*(\s*:\s*\w+(\.\w+)*)?(\s*\[.*\])?")


class Switches(NamedTuple):
    """Which installed plugins to load.

    Attributes:
        disabled: plugins or distributions that are left out.
        only: if not ``None``, the only ones that are loaded.
        strict: whether a broken plugin raises instead of warning.
    """

    disabled: frozenset[str] = frozenset()
    only: frozenset[str] | None = None
    strict: bool = False

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "Switches":
        """Read ``SPI_DISABLE_PLUGINS``, ``SPI_LOAD_PLUGINS`` (empty: none) and ``SPI_STRICT_PLUGINS``.

        Raises:
            ValueError: ``SPI_STRICT_PLUGINS`` is neither empty, ``0`` nor ``1``.
        """
        strict = environ.get("SPI_STRICT_PLUGINS", "")
        if strict not in ("", "0", "1"):
            raise ValueError(f"SPI_STRICT_PLUGINS must be 0 or 1, got {strict!r}.")
        only = environ.get("SPI_LOAD_PLUGINS")
        return cls(
            disabled=_names(environ.get("SPI_DISABLE_PLUGINS", "")),
            only=None if only is None else _names(only),
            strict=strict == "1",
        )

    def reason_to_skip(self, owner: Owner) -> str | None:
        """Why ``owner`` is not loaded, or ``None``. Plugins may also be named by their distribution."""
        names = {owner.plugin, owner.distribution}
        if names & self.disabled:
            return "switched off by SPI_DISABLE_PLUGINS"
        if self.only is not None and not names & self.only:
            return "not among SPI_LOAD_PLUGINS"
        return None


class Candidate(NamedTuple):
    """An installed plugin: its entry point, or why it has none that can be loaded."""

    owner: Owner
    entry_point: importlib.metadata.EntryPoint | None
    error: Exception | None = None


def find_candidates() -> list[Candidate]:
    """Every installed plugin, sorted by name so that the order does not depend on ``sys.path``.

    Distributions are read one by one: ``entry_points`` fails for all of them if the metadata of one is malformed.
    """
    found: list[Candidate] = []
    seen: set[str] = set()
    for distribution in importlib.metadata.distributions():
        try:
            text = distribution.read_text("entry_points.txt") or ""
        except UnicodeDecodeError as error:  # what can be read tells whether it is one of ours
            text = error.object.decode(errors="replace")
        except Exception:
            continue
        if ENTRY_POINT_GROUP not in text:
            continue
        name = _read_or_none(distribution, "name")
        normalized = re.sub(r"[-_.]+", "-", name or "").lower()
        if normalized not in seen:  # the first on sys.path hides the rest, as in an import
            seen |= {normalized} - {""}
            found.extend(_read(distribution, name))
    return sorted(found, key=lambda candidate: (candidate.owner.plugin, candidate.owner.distribution or ""))


def _read(distribution: importlib.metadata.Distribution, name: str | None) -> list[Candidate]:
    version = _read_or_none(distribution, "version")
    try:
        points = distribution.entry_points.select(group=ENTRY_POINT_GROUP)
        return [_candidate(point, Owner(one_line(point.name), name, version)) for point in points]
    except Exception as error:
        return [Candidate(Owner(name or "unknown", name, version), None, error)]


def _candidate(point: importlib.metadata.EntryPoint, owner: Owner) -> Candidate:
    if _VALUE.fullmatch(point.value.strip()):
        return Candidate(owner, point)
    fault = PluginError(
        f"its entry point must be 'package.module' or 'package.module:object', got {point.value!r}"
    )
    return Candidate(owner, None, fault)


def _read_or_none(distribution: importlib.metadata.Distribution, field: str) -> str | None:
    try:
        value = getattr(distribution, field)
    except Exception:
        return None
    return one_line(value) if isinstance(value, str) and value else None


def _names(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.split(",") if name.strip())
