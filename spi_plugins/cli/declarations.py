"""The arguments of the built-in algorithms as data, so that ``spi train`` checks them before it imports JAX and torch.

``make signatures`` writes the file from the classes; a test holds the two equal.
"""

import functools
import importlib.resources
import inspect
import json
import operator
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args, get_origin

from spi_plugins.hyperparameters import Hyperparameter, Range

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
    "widths": tuple[int, ...],
    "any": Any,
}


def read_declarations(target: Any) -> dict[str, Hyperparameter] | None:
    """The arguments of the algorithm that ``target`` imports, by name; ``None`` unless it is built in."""
    stored = json.loads(FILE.read_text(encoding="utf-8")).get(target) if isinstance(target, str) else None
    return None if stored is None else {name: _decode(name, fields) for name, fields in stored.items()}


def write_declarations(classes: Mapping[str, type]) -> str:
    """JSON of the arguments of algorithms by target: one line for each argument."""
    algorithms = []
    for target, cls in classes.items():
        declared: Mapping[str, Hyperparameter] = getattr(cls, "hyperparameters", {})
        lines = (
            f"  {json.dumps(name)}: {json.dumps(_encode(declared[name]) if name in declared else {})}"
            for name in sorted(parameters(cls) | declared.keys())
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


def _encode(declaration: Hyperparameter) -> dict[str, Any]:
    kinds = [_kind(each) for each in declaration.alternatives]
    limits = declaration.range._asdict().items()
    return {"kinds": kinds} | {key: value for key, value in limits if value != Range._field_defaults[key]}


def _kind(annotation: Any) -> str | list[Any]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    for name, kind in _KINDS.items():
        if annotation == kind or (
            get_origin(annotation) in (Callable, dict) and get_origin(kind) is get_origin(annotation)
        ):
            return name
    return "any"


def _decode(name: str, fields: Mapping[str, Any]) -> Hyperparameter:
    kinds = [
        Literal[*kind] if isinstance(kind, list) else _KINDS[kind] for kind in fields.get("kinds", ["any"])
    ]
    limits = {key: value for key, value in fields.items() if key != "kinds"}
    limits["also"] = tuple(limits.get("also", ()))
    return Hyperparameter(name, functools.reduce(operator.or_, kinds), None, "", "", Range(**limits))
