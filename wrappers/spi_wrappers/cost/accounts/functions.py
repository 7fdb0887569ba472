"""Functions passed as ``"module:function"`` or as objects."""

import pkgutil
import re
from collections.abc import Callable
from typing import Any, TypeAlias

#: ``"module:function"``, or the function.
FunctionOrName: TypeAlias = str | Callable[..., Any]


def name_of(function: FunctionOrName) -> FunctionOrName:
    """The ``"module:function"`` that leads to a function, so that specs can be JSON; else the argument itself."""
    if isinstance(function, str) or not callable(function):
        return function
    name = f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', '')}"
    try:
        return name if function_of("fn", name) is function else function
    except (ValueError, TypeError):
        return function


def function_of(argument: str, function: FunctionOrName) -> Callable[..., Any]:
    """The function, looked up if it is a name; the ``TypeError`` or ``ValueError`` names the argument."""
    found: Any = function
    if isinstance(function, str):
        if not re.fullmatch(r"[^:]+:[^:]+", function):
            raise ValueError(f"{argument} must be a callable or 'module:function', got {function!r}.")
        try:
            found = pkgutil.resolve_name(function)
        except (ImportError, AttributeError) as error:
            raise ValueError(f"{argument}={function!r} cannot be found: {error}.") from error
    if not callable(found):
        raise TypeError(f"{argument} must be a callable or 'module:function', got {found!r}.")
    return found  # type: ignore[no-any-return]
