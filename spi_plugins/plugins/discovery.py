"""Finds installed plugins, and reads the environment variables that choose among them. Loads nothing."""

import importlib.metadata
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from spi_plugins.hookspecs import PROJECT_NAME
from spi_plugins.plugins.registry import Owner

#: The entry-point group of plugins.
ENTRY_POINT_GROUP = PROJECT_NAME


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
        """Why ``owner`` is not loaded, or ``None``. A plugin may be named by its distribution, too."""
        names = {owner.plugin, owner.distribution}
        if names & self.disabled:
            return "switched off by SPI_DISABLE_PLUGINS"
        if self.only is not None and not names & self.only:
            return "not among SPI_LOAD_PLUGINS"
        return None


class Candidate(NamedTuple):
    """A plugin that is installed: its entry point, or the error that reading its metadata gave."""

    owner: Owner
    entry_point: importlib.metadata.EntryPoint | None
    error: Exception | None = None


def find_candidates() -> Iterator[Candidate]:
    """Every installed plugin, sorted by name so that the order does not depend on ``sys.path``.

    Distributions are read one by one: ``importlib.metadata.entry_points`` gives up on all when the metadata
    of a single one is malformed.
    """
    found: list[Candidate] = []
    seen: set[str] = set()
    for distribution in importlib.metadata.distributions():
        try:
            text = distribution.read_text("entry_points.txt")
            if not text or ENTRY_POINT_GROUP not in text:
                continue
            name = _distribution_name(distribution)
        except Exception:  # unreadable, and so not known to be one of ours
            continue
        normalized = re.sub(r"[-_.]+", "-", name).lower()
        if normalized not in seen:  # the first on sys.path hides the rest, as in an import
            seen.add(normalized)
            found.extend(_read(distribution, name))
    return iter(
        sorted(found, key=lambda candidate: (candidate.owner.plugin, candidate.owner.distribution or ""))
    )


def _read(distribution: importlib.metadata.Distribution, name: str) -> list[Candidate]:
    try:
        version: str | None = distribution.version
    except Exception:
        version = None
    try:
        points = distribution.entry_points.select(group=ENTRY_POINT_GROUP)
        return [Candidate(Owner(point.name, name, version), point) for point in points]
    except Exception as error:
        return [Candidate(Owner(name, name, version), None, error)]


def _distribution_name(distribution: importlib.metadata.Distribution) -> str:
    try:
        return distribution.name or "unknown"
    except Exception:
        return "unknown"


def _names(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.split(",") if name.strip())
