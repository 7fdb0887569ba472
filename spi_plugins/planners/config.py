"""Settings that the sampling planners share, and how a factory takes them."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

C = TypeVar("C")


def configured(cls: type[C], settings: Mapping[str, Any]) -> C:
    """Build a planner's configuration out of keyword arguments.

    Args:
        cls: a dataclass.
        settings: its fields by name.

    Raises:
        ValueError: a setting is unknown, which names the known ones, or its value is out of range.
    """
    allowed = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    unknown = sorted(set(settings) - set(allowed))
    if unknown:
        raise ValueError(
            f"{cls.__name__.removesuffix('Config')} has no setting {', '.join(map(repr, unknown))}; "
            f"allowed: {', '.join(allowed) or 'none'}."
        )
    return cls(**settings)


def check_counts(config: object, **at_least: int) -> None:
    """Refuse counts that are no integers or too small.

    Raises:
        ValueError: naming the field, its value and the least one allowed.
    """
    for name, least in at_least.items():
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")


def check_choice(config: object, name: str, allowed: tuple[str, ...]) -> None:
    """Refuse a word that is not among the allowed ones.

    Raises:
        ValueError: naming the field, its value and the allowed ones.
    """
    value = getattr(config, name)
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")


def check_horizon(horizon: int | None) -> None:
    """Refuse a planning horizon below 1.

    Raises:
        ValueError: naming the value.
    """
    if horizon is not None and (isinstance(horizon, bool) or not isinstance(horizon, int) or horizon < 1):
        raise ValueError(
            f"horizon must be an integer of at least 1, or None for the model's, got {horizon!r}"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Iterated sampling around a mean, from which elites make the next mean.

    Attributes:
        horizon: steps to look ahead; ``None`` for the horizon that the model was trained with.
        num_samples: action sequences in an iteration, those of the policy included.
        num_prior: sequences sampled from the model's policy, once a decision; 0 for none.
        num_elites: how many of the best make the next mean.
        iterations: how often the distribution is refitted in a decision.
        temperature: elites weigh ``exp(temperature * score)``: it multiplies.
        momentum: share of the old mean in the new one.
        min_std: least standard deviation of an entry, in units of the action.
        max_std: largest one, and the first of every decision.
    """

    horizon: int | None = None
    num_samples: int = 512
    num_prior: int = 24
    num_elites: int = 64
    iterations: int = 6
    temperature: float = 0.5
    momentum: float = 0.0
    min_std: float = 0.05
    max_std: float = 2.0

    def __post_init__(self) -> None:
        """Check every number.

        Raises:
            ValueError: one is out of range.
        """
        check_horizon(self.horizon)
        check_counts(self, num_samples=1, num_prior=0, num_elites=1, iterations=1)
        if self.num_prior >= self.num_samples:
            raise ValueError(
                f"num_prior must be less than num_samples, got {self.num_prior} of {self.num_samples}"
            )
        if self.num_elites > self.num_samples:
            raise ValueError(
                f"num_elites must be at most num_samples, got {self.num_elites} of {self.num_samples}"
            )
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature!r}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {self.momentum!r}")
        if not 0 < self.min_std <= self.max_std:
            raise ValueError(
                f"0 < min_std <= max_std must hold, got min_std {self.min_std!r}, max_std {self.max_std!r}"
            )
