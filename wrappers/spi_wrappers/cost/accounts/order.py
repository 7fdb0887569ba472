"""The order of wrappers: stacks that would silently compute something wrong."""

from collections.abc import Iterator
from typing import Any, NamedTuple

_ENDING = frozenset({"TimeLimit", "CostLimit", "CostToTermination"})
_SHAPING = frozenset({"SauteBudget", "LagrangianReward", "CostPenalty"})
_LIMITED = frozenset({"CostLimit", "CostToTermination", "SauteBudget", "LagrangianReward"})
_NORMALIZED = frozenset({"NormalizeCost"})


class Rule(NamedTuple):
    """No wrapper of ``outer`` may be outside of one of ``inner``."""

    inner: frozenset[str]
    outer: frozenset[str]
    why: str


RULES = (
    Rule(
        _NORMALIZED,
        _LIMITED | {"CostMonitor"},
        "{outer} would take normalized costs for real ones; apply {inner} last",
    ),
    Rule(
        frozenset({"CostMonitor", "SauteBudget", "LagrangianReward", "NormalizeCost"}),
        _ENDING,
        "{outer} would end episodes without {inner} seeing it; apply {outer} before {inner}",
    ),
    Rule(
        _SHAPING | _LIMITED | _NORMALIZED,
        frozenset({"ClipCost", "DelayCost", "MultiCost"}),
        "{outer} would change the cost after {inner} has used it; apply {outer} before {inner}",
    ),
    Rule(
        _SHAPING,
        frozenset({"RecordEpisodeStatistics"}),
        "{outer} would count the shaped reward of {inner}; apply {outer} before {inner}",
    ),
)


def layers(env: Any) -> Iterator[Any]:
    """The wrappers of an environment and the environment, outermost first; then those of a vector's row 0."""
    while env is not None:
        yield env
        inside = _own(env, "env")
        rows = _own(env, "envs") if inside is None else None
        env = rows[0] if isinstance(rows, list | tuple) and rows else inside


def _own(env: Any, name: str) -> Any:
    """An attribute that ``__getattr__`` does not forward to a wrapper inside.

    ``vars(env)`` would do, but CPython looks attributes up more slowly in an object whose ``__dict__`` was accessed:
    each step of the environment would take 2 % longer.
    """
    try:
        return object.__getattribute__(env, name)
    except AttributeError:
        return None


def wrong_orders(env: Any) -> list[str]:
    """One sentence for each rule that two wrappers of a stack break."""
    names = [type(layer).__name__ for layer in layers(env)]
    pairs = [(inner, outer) for i, inner in enumerate(names) for outer in names[:i]]
    return list(dict.fromkeys(why for pair in pairs for why in _broken(*pair)))


def refuse_wrong_order(env: Any, wrapper: str) -> None:
    """Raise a ``ValueError`` if a wrapper inside ``env`` must not be inside of the class ``wrapper``."""
    for layer in layers(env):
        for why in _broken(type(layer).__name__, wrapper):
            raise ValueError(f"Wrong order: {why}.")


def _broken(inner: str, outer: str) -> list[str]:
    rules = (rule for rule in RULES if inner in rule.inner and outer in rule.outer)
    return [rule.why.format(inner=inner, outer=outer) for rule in rules]
