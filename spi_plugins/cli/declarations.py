"""The arguments of the built-in algorithms as data, so that ``spi train`` checks them before it imports JAX and torch.

``make signatures`` writes the file from the classes; a test holds the two equal.
"""

import functools
import importlib.resources
import inspect
import json
import operator
import re
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args, get_origin

from spi_plugins.hyperparameters import ByPolicy, Hyperparameter, Range, Rule

FILE = importlib.resources.files("spi_plugins.cli") / "declarations.json"
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_KINDS: Mapping[str, Any] = {
    "none": types.NoneType,
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
    "schedule": Callable[[float], float],
    "dict": dict[str, Any],
    "floats": Mapping[str, float],
    "widths": tuple[int, ...],
    "any": Any,
}


def read_declarations(target: Any) -> dict[str, Hyperparameter] | None:
    """The arguments of the algorithm that ``target`` imports, by name; ``None`` unless it is built in."""
    stored = _stored().get(target) if isinstance(target, str) else None
    return None if stored is None else {name: _decode(name, fields) for name, fields in stored.items()}


def read_groups(target: str) -> dict[str, list[Hyperparameter]]:
    """The hyperparameters of a built-in algorithm by the titles of their groups."""
    groups: dict[str, list[Hyperparameter]] = {}
    for name, fields in _stored()[target].items():
        if fields:
            groups.setdefault(fields["group"], []).append(_decode(name, fields))
    return groups


def read_all() -> dict[str, Hyperparameter]:
    """The hyperparameters of all built-in algorithms by name, as one of those that have it declares it."""
    found = {name: (name, fields) for each in _stored().values() for name, fields in each.items() if fields}
    return {name: _decode(*each) for name, each in found.items()}


@functools.cache
def _stored() -> dict[str, dict[str, dict[str, Any]]]:
    algorithms: dict[str, dict[str, dict[str, Any]]] = json.loads(FILE.read_text(encoding="utf-8"))
    return algorithms


def write_declarations(classes: Mapping[str, type], groups: Mapping[str, str]) -> str:
    """JSON of the arguments of algorithms by target: one line for each argument.

    Args:
        classes: of the algorithms, by target.
        groups: titles in the help, by argument.
    """
    algorithms = []
    for target, cls in classes.items():
        taken = parameters(cls)
        described = {name: each for name, each in _undeclared(cls).items() if name in taken}
        declared: Mapping[str, Hyperparameter] = described | getattr(cls, "hyperparameters", {})
        lines = (
            f"  {json.dumps(name)}: {_line(_encode(declared[name], groups) if name in declared else {})}"
            for name in dict.fromkeys([*declared, *sorted(taken)])
        )
        algorithms.append(f"{json.dumps(target)}: {{\n" + ",\n".join(lines) + "\n }")
    return "{\n " + ",\n ".join(algorithms) + "\n}\n"


def parameters(cls: type) -> set[str]:
    """The names that a constructor takes, including those that it passes on to its bases."""
    found: set[str] = set()
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        taken = inspect.signature(vars(base)["__init__"]).parameters.values()
        found |= {each.name for each in taken if each.kind in _NAMED and not each.name.startswith("_")}
        if all(each.kind is not inspect.Parameter.VAR_KEYWORD for each in taken):
            break
    return found - {"self"}


def _line(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False)


def _undeclared(cls: type) -> dict[str, Hyperparameter]:
    """What constructors take without a declaration, as their signatures and docstrings have it."""
    found: dict[str, Hyperparameter] = {}
    for base in cls.__mro__:
        taken = inspect.signature(vars(base)["__init__"]).parameters if "__init__" in vars(base) else {}
        for name, help in re.findall(r"^    (\w+): (.+?)\.$", inspect.getdoc(base) or "", re.M | re.S):
            each = taken.get(name)
            if each is not None and each.default is not inspect.Parameter.empty:
                help = " ".join(f"{help[0].upper()}{help[1:]}".replace("``", "`").split())
                found.setdefault(name, Hyperparameter(name, each.annotation, each.default, help, "", Range()))
    return found


def _encode(declaration: Hyperparameter, groups: Mapping[str, str]) -> dict[str, Any]:
    limits = declaration.range._asdict().items()
    own = declaration.by_policy
    return {
        "kinds": [_kind(each) for each in declaration.alternatives],
        "group": groups[declaration.name],
        "help": declaration.text,
        **({"default": declaration.default} if own is None else {"by_policy": own.texts}),
        **{key: value for key, value in limits if value != Range._field_defaults[key]},
    }


def _kind(annotation: Any) -> str | list[Any]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    for name, kind in _KINDS.items():
        if annotation == kind or (
            get_origin(annotation) in (Callable, dict) and get_origin(kind) is get_origin(annotation)
        ):
            return name
    return "dict" if get_origin(annotation) is Mapping else "any"


def _decode(name: str, fields: Mapping[str, Any]) -> Hyperparameter:
    kinds = [
        Literal[*kind] if isinstance(kind, list) else _KINDS[kind] for kind in fields.get("kinds", ["any"])
    ]
    limits = {key: value for key, value in fields.items() if key in Range._fields}
    limits["also"] = tuple(limits.get("also", ()))
    kind, help, default = functools.reduce(operator.or_, kinds), fields.get("help", ""), fields.get("default")
    own = ByPolicy(*(Rule(text) for text in fields["by_policy"])) if "by_policy" in fields else None
    return Hyperparameter(name, kind, default, help, "", Range(**limits), own)
