"""Hyperparameters, each declared once: a field of a frozen dataclass with type, default, range, help and source.

``hyperparameter`` declares one. What a constructor takes, stores and checks, ``help(DeepSPI)``, the signatures and the
tables in the docs all come from the declarations.
"""

import dataclasses
import functools
import math
import types
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, NamedTuple, TypeVar, Union, cast, get_args, get_origin

from spi_plugins.checks import check_choice, check_integer, check_number, check_widths

T = TypeVar("T")
C = TypeVar("C")
_KEY = "hyperparameter"


class Range(NamedTuple):
    """Allowed numbers, and values allowed outside of their range."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    also: tuple[Any, ...] = ()


class Rule(NamedTuple):
    """A default that depends on the number of copies; whoever declares it knows what ``value`` takes.

    Of a declaration that was read from a file there is only the text.
    """

    text: str
    value: Callable[..., Any] | None = None


class ByPolicy(NamedTuple):
    """Defaults that depend on the policy.

    Attributes:
        mlp: with ``MlpPolicy`` and ``MultiInputPolicy``, and policies that extend them.
        cnn: with ``CnnPolicy`` and policies that extend it.
    """

    mlp: Any
    cnn: Any

    @property
    def texts(self) -> tuple[str, str]:
        """Both as documentation shows them."""
        mlp, cnn = (value.text if isinstance(value, Rule) else f"`{value!r}`" for value in self)
        return mlp, cnn


class Hyperparameter(NamedTuple):
    """A declaration.

    Attributes:
        name: of the field and of the argument.
        type: as annotated; it says what is checked.
        default: of the field and of the argument.
        help: one sentence without its period, for docstrings and docs.
        source: the paper's section or equation, or nothing.
        range: of numbers.
        by_policy: its defaults if they depend on the policy; ``default`` is then ``None``.
    """

    name: str
    type: Any
    default: Any
    help: str
    source: str
    range: Range
    by_policy: ByPolicy | None = None

    @property
    def text(self) -> str:
        """Help and source."""
        return f"{self.help} ({self.source})" if self.source else self.help

    @property
    def full_text(self) -> str:
        """Help, source, and the defaults that a signature cannot show."""
        if self.by_policy is None:
            return self.text
        mlp, cnn = self.by_policy.texts
        return f"{self.text}; by default {mlp}, with `CnnPolicy` {cnn}"

    @property
    def alternatives(self) -> tuple[Any, ...]:
        """The members of a union, or the type itself."""
        return get_args(self.type) if get_origin(self.type) in (types.UnionType, Union) else (self.type,)

    @property
    def is_schedule(self) -> bool:
        """Whether it may be a function of the remaining progress."""
        return any(get_origin(kind) is Callable for kind in self.alternatives)

    @property
    def is_mapping(self) -> bool:
        """Whether it is a dict; ``None`` then means an empty one."""
        return any(get_origin(kind) is dict for kind in self.alternatives)

    @property
    def choices(self) -> tuple[Any, ...]:
        """The allowed values, if they are few."""
        kinds = [kind for kind in self.alternatives if kind is not types.NoneType]
        if kinds == [bool]:
            values: tuple[Any, ...] = (True, False)
        elif all(get_origin(kind) is Literal for kind in kinds):
            values = tuple(value for kind in kinds for value in get_args(kind))
        else:
            return ()
        return (None, *values) if types.NoneType in self.alternatives else values

    def converted(self, value: Any) -> Any:
        """A whole number as the float that the type asks for; anything else as it is."""
        return float(value) if float in self.alternatives and type(value) is int else value

    def check(self, value: Any) -> None:
        """Refuse a value that is not allowed.

        Raises:
            ValueError: names the hyperparameter, what came and what is allowed.
        """
        kinds = self.alternatives
        if value in self.range.also or (value is None and types.NoneType in kinds and not self.choices):
            return
        if self.choices:
            check_choice(self.name, value, self.choices)
        elif self.is_mapping:
            if not isinstance(value, Mapping):
                raise ValueError(f"{self.name} must be a dict, got {value!r}.")
        elif isinstance(value, Mapping) and any(get_origin(kind) is Mapping for kind in kinds):
            for key, each in value.items():
                self._replace(name=f"{self.name}[{key!r}]")._check_number(each)
        elif int in kinds:
            check_integer(self.name, value, low=self.range.low, high=self.range.high)
        elif float in kinds:
            if not (self.is_schedule and (callable(value) or _is_linear(value))):
                self._check_number(value)
        elif any(get_args(kind) == (int, ...) for kind in kinds):
            check_widths(self.name, value)

    def _check_number(self, value: Any) -> None:
        low, high, open_low, open_high, _ = self.range
        try:
            check_number(self.name, value, low=low, high=high, open_low=open_low, open_high=open_high)
        except ValueError as error:
            if not self.is_schedule:
                raise
            also = "A function of the remaining progress (1 to 0) or a string such as 'lin_0.001' is also allowed."
            raise ValueError(f"{error} {also}") from None


def _is_linear(value: Any) -> bool:
    """Whether it is a schedule as rl_zoo3 writes it: ``"lin_0.001"``."""
    try:
        return isinstance(value, str) and value.startswith("lin_") and 0 <= float(value[4:]) < math.inf
    except ValueError:
        return False


def hyperparameter(
    default: T,
    help: str,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    above: float | None = None,
    below: float | None = None,
    also: tuple[Any, ...] = (),
    source: str = "",
) -> T:
    """Declare a field of a frozen dataclass.

    Args:
        default: its default.
        help: one sentence without its period.
        low: least number allowed.
        high: greatest number allowed.
        above: like ``low``, but not allowed itself.
        below: like ``high``, but not allowed itself.
        also: values allowed outside of the range.
        source: paper's section or equation.
    """
    allowed = Range(
        low if above is None else above,
        high if below is None else below,
        above is not None,
        below is not None,
        also,
    )
    declaration = Hyperparameter("", None, default, help, source, allowed)
    return dataclasses.field(default=default, metadata={_KEY: declaration})


def with_default(cls: Any, name: str, default: T) -> T:
    """Declare a field as in another dataclass, with another default."""
    field = _declared(cls)[name]._replace(default=default)
    return dataclasses.field(default=default, metadata={_KEY: field})


def by_policy(
    declarations: Mapping[str, Hyperparameter], mlp: Mapping[str, Any], cnn: Mapping[str, Any] | None = None
) -> dict[str, Hyperparameter]:
    """The same declarations, some of them with defaults that depend on the policy.

    Args:
        declarations: by name.
        mlp: defaults with ``MlpPolicy`` and ``MultiInputPolicy`` by name.
        cnn: defaults with ``CnnPolicy``; those declared if it lacks a name.
    """
    chosen = {name: ByPolicy(mlp[name], (cnn or {}).get(name, declarations[name].default)) for name in mlp}
    return {
        name: each._replace(type=each.type | None, default=None, by_policy=chosen[name])
        if name in chosen
        else each
        for name, each in declarations.items()
    }


@functools.cache
def _declared(cls: Any) -> dict[str, Hyperparameter]:
    return {
        field.name: field.metadata[_KEY]._replace(name=field.name, type=field.type, default=field.default)
        for field in dataclasses.fields(cls)
        if _KEY in field.metadata
    }


def declared(cls: Any, *names: str, without: Collection[str] = ()) -> dict[str, Hyperparameter]:
    """The hyperparameters of a dataclass by name.

    Args:
        cls: the dataclass.
        *names: those wanted, in this order; none for all.
        without: those not wanted.
    """
    found = _declared(cls)
    return {name: found[name] for name in names or found if name not in without}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """A frozen dataclass of hyperparameters that refuses values out of range."""

    def __post_init__(self) -> None:
        """Check every hyperparameter.

        Raises:
            ValueError: names the first that is out of range, what came and what is allowed.
        """
        for name, declaration in declared(type(self)).items():
            declaration.check(getattr(self, name))


def configured(cls: type[C], settings: Mapping[str, Any], owner: str = "", /, **fixed: Any) -> C:
    """Make a config from settings that a user gave by name; lists, as JSON has them, become tuples.

    Args:
        cls: the config's class.
        settings: fields by name.
        owner: what the settings belong to, for the message; by default the class's name without "Config".
        **fixed: fields that are not the user's to set here.

    Raises:
        ValueError: a setting is unknown, which names the known ones, or out of range.
    """
    allowed = [field.name for field in dataclasses.fields(cast(Any, cls)) if field.name not in fixed]
    unknown = sorted(set(settings) - set(allowed))
    if unknown:
        owner = owner or cls.__name__.removesuffix("Config")
        raise ValueError(f"{owner} has unknown keys {unknown}; allowed are {', '.join(allowed) or 'none'}.")
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    numbers = {key: each.converted(given[key]) for key, each in declared(cls).items() if key in given}
    return cls(**{**given, **numbers}, **fixed)


def check_below(config: Any, low: str, high: str) -> None:
    """Refuse a config in which field ``low`` is not below field ``high``."""
    if not getattr(config, low) < getattr(config, high):
        raise ValueError(f"{low}={getattr(config, low)!r} must be below {high}={getattr(config, high)!r}.")
