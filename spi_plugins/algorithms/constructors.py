"""Constructors made from hyperparameters: one explicit signature for each algorithm, and its ``Args`` section."""

import difflib
import inspect
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from spi_plugins.hyperparameters import Hyperparameter

_ARGS = """Args:
    policy: `"MlpPolicy"`, `"CnnPolicy"`, `"MultiInputPolicy"`, or a subclass of one of their classes.
    env: A Gymnasium `Env` or id, an SB3 `VecEnv`, a Gymnasium `VectorEnv` in any autoreset mode, an EnvPool
        environment, or a `FunctionalEnv`; `None` only in `load`.
"""


def signature(cls: Any) -> inspect.Signature:
    """Policy, environment and hyperparameters: positional in SB3's order as far as both go, then by name only."""
    hyperparameters: Mapping[str, Hyperparameter] = cls.hyperparameters
    # A position means the same as in SB3, or nothing: an argument that is missing ends the row.
    positional = tuple(itertools.takewhile(hyperparameters.__contains__, cls.positional))
    by_name = (name for name in hyperparameters if name not in positional)
    parameters = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("self", "policy", "env")
    ]
    for names, kind in (
        (positional, inspect.Parameter.POSITIONAL_OR_KEYWORD),
        (by_name, inspect.Parameter.KEYWORD_ONLY),
    ):
        parameters += [
            inspect.Parameter(
                name, kind, default=hyperparameters[name].default, annotation=hyperparameters[name].type
            )
            for name in names
        ]
    setup = inspect.Parameter("_init_setup_model", inspect.Parameter.KEYWORD_ONLY, default=True)
    return inspect.Signature([*parameters, setup])


def constructor(cls: Any) -> Callable[..., None]:
    """An ``__init__`` that takes the hyperparameters of a class and hands them on as one mapping.

    Type checkers and editors read the same signature in ``signatures.pyi``.
    """
    expected = signature(cls)

    def __init__(*args: Any, **kwargs: Any) -> None:  # noqa: N807
        unknown = [name for name in kwargs if name not in expected.parameters]
        if unknown:
            hint = _hint(unknown[0], expected.parameters)
            raise TypeError(f"{cls.__name__}() got an unexpected keyword argument {unknown[0]!r}.{hint}")
        try:
            bound = expected.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{cls.__name__}() {error}") from None
        bound.apply_defaults()
        self, policy, env = (bound.arguments.pop(name) for name in ("self", "policy", "env"))
        self._initialize(policy, env, bound.arguments)

    __init__.__signature__ = expected  # type: ignore[attr-defined]
    return __init__


def _hint(name: str, known: Iterable[str]) -> str:
    """Which argument may be meant: one with these initials, or one that looks alike."""
    initials = [each for each in known if "".join(word[0] for word in each.strip("_").split("_")) == name]
    close = initials or difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def documentation(cls: Any) -> str:
    """The docstring of a class, with all arguments of its constructor."""
    lines = (f"    {name}: {each.full_text}.\n" for name, each in cls.hyperparameters.items())
    text, raises, errors = inspect.cleandoc(cls.__doc__ or "").partition("\nRaises:")
    return f"{text.rstrip()}\n\n{_ARGS}{''.join(lines)}{raises}{errors}"
