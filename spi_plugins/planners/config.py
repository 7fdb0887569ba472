"""Settings that sampling planners share."""

import dataclasses

from spi_plugins.hyperparameters import Config, hyperparameter


@dataclasses.dataclass(frozen=True, kw_only=True)
class ElitesConfig(Config):
    """Iterated sampling around a mean, from which elites make the next mean."""

    horizon: int | None = hyperparameter(
        None, "Steps to look ahead; `None` for the model's own horizon", low=1
    )
    num_samples: int = hyperparameter(512, "Action sequences in an iteration", low=1)
    num_elites: int = hyperparameter(64, "How many of the best make the next mean", low=1)
    iterations: int = hyperparameter(6, "How often the distribution is refitted in a decision", low=1)
    momentum: float = hyperparameter(0.0, "Share of the old mean in the new one", low=0, below=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_elites > self.num_samples:
            raise ValueError(
                f"num_elites must be at most num_samples, got {self.num_elites} of {self.num_samples}."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class GaussianConfig(ElitesConfig):
    """Sampling from a normal distribution with bounded deviations."""

    min_std: float = hyperparameter(
        0.05,
        "Least standard deviation, in units of the action; the least probability of a discrete value, before "
        "normalization",
        above=0,
    )
    max_std: float = hyperparameter(
        2.0, "Largest one, and the first of every decision; without effect on discrete actions", above=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_std > self.max_std:
            raise ValueError(f"min_std must be at most max_std, got {self.min_std!r} and {self.max_std!r}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchConfig(GaussianConfig):
    """Sampling from a normal distribution and from the model's policy, with weighted elites."""

    num_samples: int = hyperparameter(512, "Action sequences in an iteration, prior ones included", low=1)
    num_prior: int = hyperparameter(24, "Sequences that the model's policy samples, once a decision", low=0)
    temperature: float = hyperparameter(0.5, "Elites weigh `exp(temperature * score)`", above=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_prior >= self.num_samples:
            raise ValueError(
                f"num_prior must be less than num_samples, got {self.num_prior} of {self.num_samples}."
            )
