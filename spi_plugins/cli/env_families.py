"""The environments that have no line of their own in ``spi list envs``, by family; and names that may be meant."""

import importlib.util
from collections.abc import Iterable, Sequence

import gymnasium

from spi_plugins import plugins
from spi_plugins.dreams.ids import DREAM_ENTRY, DREAM_ID
from spi_plugins.statistics.atari import ATARI_SCORES, atari_game

_SAFETY = "spi_integrations.safety_gymnasium:"


def families() -> dict[str, list[str]]:
    """The ids that ``spi train`` takes besides those registered with plugins, by the names of their families."""
    listed = plugins.registry("envs").names()
    found: dict[str, list[str]] = {
        "atari": [_pooled(game) for game in sorted(ATARI_SCORES)],
        "safety": [],
        "dreams": [],
    }
    for name, spec in gymnasium.registry.items():
        made_from = spec.kwargs.get("env")
        if isinstance(made_from, str) and plugins.is_functional_member(made_from):
            found.setdefault(made_from.partition(":")[0], []).append(made_from)
        # Gymnasium registers functions that raise under the ids of versions that are gone.
        elif name not in (*listed, DREAM_ID) and isinstance(spec.entry_point, str):
            found.setdefault(_family(spec.entry_point), []).append(name)
    return found


def newest(ids: Sequence[str]) -> str:
    """The first of some ids in its newest version."""
    stem = ids[0].rpartition("-v")[0]
    if not stem:
        return ids[0]
    versions = [each for each in ids if each.rpartition("-v")[0] == stem]
    return max(versions, key=lambda each: int(each.rpartition("-v")[2]))


def _family(entry_point: str) -> str:
    if entry_point == DREAM_ENTRY:
        return "dreams"
    if entry_point.startswith(_SAFETY):
        return "safety"
    packages = entry_point.partition(":")[0].split(".")
    return packages[2] if packages[:2] == ["gymnasium", "envs"] else packages[0]


def suggestion(name: str, known: Iterable[str]) -> str:
    """``" Did you mean 'x'?"`` for an unknown environment: the same name elsewhere, or else the closest.

    Args:
        name: what came.
        known: the names that may be meant, except those of families.
    """
    pooled = [_pooled(game) for game in ATARI_SCORES]
    by_end: dict[str, list[str]] = {}
    for each in (*known, *pooled):
        by_end.setdefault(_end(each), []).append(each)
    game = atari_game(name)
    same = by_end.get(_end(name)) or ([_pooled(game)] if game else [])
    if game is not None and importlib.util.find_spec("ale_py") is not None:
        same = [*same, f"ale_py:ALE/{game}-v5"]
    if same:
        return f" Did you mean {' or '.join(map(repr, dict.fromkeys(same)))}?"
    # Prefixes that nobody typed must not hide what looks alike.
    close = plugins.did_you_mean(_end(name), by_end)
    for end, ids in by_end.items():
        close = close.replace(repr(end), repr(ids[0]))
    return close


def _pooled(game: str) -> str:
    return f"envpool:{game}-v5"


def _end(name: str) -> str:
    """The name without family, module and namespace, in lower case."""
    return name.rpartition(":")[2].rpartition("/")[2].lower()
