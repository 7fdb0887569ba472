"""The infos of vector environments: an array for each key, and a bool array ``_key`` of the rows that have it.

Functions here replace the environment's arrays and never modify them.
"""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spi_wrappers.cost.accounts.account import Bools, Entries

Infos = dict[str, Any]

#: The keys that ``SAME_STEP`` adds for episodes that ended.
FINAL_KEYS = ("final_obs", "_final_obs", "final_info", "_final_info")


class SingleInfo:
    """``InfoRows`` of a single environment."""

    def __init__(self, info: Mapping[str, Any]) -> None:
        self._info = info

    def read(self, key: str) -> tuple[Any, Bools]:
        """The value as ``[1, ...]``, and whether it is there."""
        there = key in self._info
        return (np.asarray(self._info[key])[None] if there else None), np.array([there])

    def keys(self) -> list[str]:
        """The keys of the info."""
        return list(self._info)

    def whole(self) -> dict[str, Any]:
        """A copy of the info."""
        return dict(self._info)


class VectorInfo:
    """``InfoRows`` of what ``step`` or ``reset`` of a vector environment returned.

    The rows ``final``, if any, are read from ``infos["final_info"]``.
    """

    __slots__ = ("_final", "_infos", "_num_rows")

    def __init__(self, infos: Infos, num_rows: int, final: Bools | None = None) -> None:
        self._infos, self._num_rows, self._final = infos, num_rows, final

    def read(self, key: str) -> tuple[Any, Bools]:
        """The values and their mask."""
        infos = self._infos
        if self._final is not None:
            final_info = infos.get("final_info", {})
            if key in infos or key in final_info:
                infos = overlaid(_part(infos, key), _part(final_info, key), self._final)
        return infos.get(key), mask_of(infos, key, self._num_rows)

    def keys(self) -> list[str]:
        """The keys, without those of masks and of final infos."""
        return list(_keys(self.whole()))

    def whole(self) -> dict[str, Any]:
        """The infos, with the last ones of episodes that ended."""
        infos = {key: value for key, value in self._infos.items() if key not in FINAL_KEYS}
        if self._final is not None:
            final_info = self._infos.get("final_info")
            if infos or final_info:
                infos = overlaid(infos, final_info or {}, self._final)
        return infos


def _part(infos: Infos, key: str) -> Infos:
    return {name: infos[name] for name in (key, f"_{key}") if name in infos}


@functools.lru_cache(maxsize=64)
def every_row(num_rows: int) -> Bools:
    """True in all rows, as one shared read-only array."""
    rows = np.ones(num_rows, np.bool_)
    rows.flags.writeable = False
    return rows


def mask_of(infos: Mapping[str, Any], key: str, num_rows: int) -> Bools:
    """Which rows have ``key``; all of them if there is no mask."""
    if key not in infos:
        return np.zeros(num_rows, np.bool_)
    mask = infos.get(f"_{key}")
    return np.ones(num_rows, np.bool_) if mask is None else mask


def row_of_infos(infos: Mapping[str, Any], row: int) -> dict[str, Any]:
    """One row's info."""
    info = {}
    for key in _keys(infos):
        mask = infos.get(f"_{key}")
        if mask is None or mask[row]:
            value = infos[key]
            info[key] = row_of_infos(value, row) if isinstance(value, Mapping) else value[row]
    return info


def write_row(info: dict[str, Any], entries: Entries, row: int) -> None:
    """Write one row of the entries into a single info, with Python's numbers."""
    for key, values in entries.items():
        if isinstance(values, Mapping):
            info[key] = dict(info.get(key, {}))
            write_row(info[key], values, row)
        else:
            value = values[row]
            info[key] = value.item() if isinstance(value, np.generic) else value


def put(infos: Infos, key: str, values: Any, rows: Bools | None, num_rows: int) -> None:
    """Set ``key`` in some rows, bool ``[n]`` or ``None`` for all, in place.

    ``values`` are ``[n, ...]``, or a dictionary of such without masks, merged into the existing one.
    """
    there = key in infos
    if isinstance(values, dict):
        new: Any = dict(infos[key]) if there else {}
        for name, value in values.items():
            put(new, name, value, rows, num_rows)
    elif rows is None:
        new = values
    else:
        new = np.where(aligned(rows, values), values, infos[key] if there else _nothing(values))
    if rows is None:
        mask = every_row(num_rows).copy()
    else:
        mask = mask_of(infos, key, num_rows) | rows if there else rows.copy()
    infos[key], infos[f"_{key}"] = new, mask


def without(infos: Infos, rows: Bools) -> Infos:
    """A copy of the infos without ``rows``, bool ``[n]``, and without the keys that only they have."""
    rest: Infos = {}
    for key in _keys(infos):
        left = mask_of(infos, key, len(rows)) & ~rows
        if np.count_nonzero(left):
            value = infos[key]
            if isinstance(value, Mapping):
                rest[key] = without(dict(value), rows)
            else:
                value = np.asarray(value)
                rest[key] = np.where(aligned(left, value), value, _nothing(value))
            rest[f"_{key}"] = left
    return rest


def overlaid(infos: Infos, other: Infos, rows: Bools) -> Infos:
    """A copy of the infos with ``rows``, bool ``[n]``, taken from other infos of the same environment."""
    result = without(infos, rows)
    theirs = without(other, ~rows)
    for key in _keys(theirs):
        _join(result, key, theirs[key], theirs[f"_{key}"])
    return result


def _join(infos: Infos, key: str, values: Any, rows: Bools) -> None:
    if isinstance(values, Mapping):
        part = dict(infos.get(key, {}))
        for name in _keys(values):
            _join(part, name, values[name], values[f"_{name}"])
        infos[key], infos[f"_{key}"] = part, infos.get(f"_{key}", False) | rows
    else:
        put(infos, key, values, rows, len(rows))


def _keys(infos: Mapping[str, Any]) -> Iterator[str]:
    """The keys that are not masks."""
    return (key for key in infos if not (key.startswith("_") and key[1:] in infos))


def aligned(rows: Bools, values: NDArray[Any]) -> Bools:
    """``rows`` as a mask of ``values``, ``[n, ...]``."""
    return rows if values.ndim == 1 else rows.reshape(-1, *[1] * (values.ndim - 1))


def _nothing(values: NDArray[Any]) -> Any:
    """What Gymnasium puts into rows that lack a key."""
    return None if values.dtype == object else np.zeros((), values.dtype)
