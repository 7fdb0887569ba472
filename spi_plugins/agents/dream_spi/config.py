"""What DreamSPI is set by and what it reports, beside what every on-policy agent has."""

import dataclasses
from collections.abc import Iterable
from typing import Any, NamedTuple

from jaxtyping import Array, Float

from spi_plugins.agents.deep_spi.config import Correction, DeepSPIConfig
from spi_plugins.agents.on_policy import DeepSPIMetrics


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReplayConfig:
    """Past rollouts, and how they are used.

    Attributes:
        size: steps to keep, at least a rollout.
        n_steps: steps of each environment in a rollout.
        n_envs: environments.
        n_replays: rollouts' worth of past sequences that an update learns from.
        correction: see ``replayed.corrected_rows``.
    """

    size: int
    n_steps: int
    n_envs: int
    n_replays: int = 1
    correction: Correction = "vtrace"

    def __post_init__(self) -> None:
        """Check the sizes.

        Raises:
            ValueError: there is no room for a rollout, or nothing is replayed.
        """
        if self.size < self.n_steps * self.n_envs:
            raise ValueError(
                f"size must be at least a rollout, {self.n_steps} * {self.n_envs} steps, got {self.size}"
            )
        if self.n_replays < 1:
            raise ValueError(f"n_replays must be at least 1, got {self.n_replays}")

    @property
    def shape(self) -> tuple[int, int]:
        """Sequences in the ring, and steps of each."""
        return self.size // self.n_steps, self.n_steps


@dataclasses.dataclass(frozen=True, kw_only=True)
class DreamSPIConfig:
    """Settings of an update in two phases. The defaults are the official ones.

    Attributes:
        real: the phase on real steps; its discounts, coefficients and bound of the gradient hold in dreams, too.
        dyna: let actor and critic learn from real steps as well.
        imagination_horizon: steps of a dream.
        imagination_epochs: passes over the dreams.
        imagination_batch_size: imagined steps in a minibatch; must divide the rollout times the horizon.
        n_imagination_rollouts: times that dreams are made and learned from, each time from the same states.
        soft_termination: the predicted probability of an end discounts what follows; otherwise the end is drawn.
        replay: past rollouts to learn from, too; ``None`` for none.
    """

    real: DeepSPIConfig = DeepSPIConfig()  # noqa: RUF009  frozen
    dyna: bool = False
    imagination_horizon: int = 8
    imagination_epochs: int = 1
    imagination_batch_size: int = 256
    n_imagination_rollouts: int = 1
    soft_termination: bool = False
    replay: ReplayConfig | None = None

    def __post_init__(self) -> None:
        """Check the sizes, and that the world model is learned.

        Raises:
            ValueError: a size below one, or a part of the world model that no loss would fit.
        """
        for name in (
            "imagination_horizon",
            "imagination_epochs",
            "imagination_batch_size",
            "n_imagination_rollouts",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("reward_loss_coef", "transition_loss_coef"):
            if not getattr(self.real, name) > 0:
                raise ValueError(f"{name} must be above 0 to dream, got {getattr(self.real, name)}")
        if self.real.auxiliary == "none":
            raise ValueError("auxiliary must be 'utility' or 'additive' to dream, got 'none'")

    @property
    def dream(self) -> DeepSPIConfig:
        """Settings of the phase on imagined steps."""
        return dataclasses.replace(
            self.real,
            auxiliary="none",
            n_epochs=self.imagination_epochs,
            batch_size=self.imagination_batch_size,
        )


class Imagined(NamedTuple):
    """Means over the dreams of an update."""

    mean_return: Float[Array, ""]  # discounted, without what the critic expects after the horizon
    mean_length: Float[Array, ""]  # steps
    ended: Float[Array, ""]  # share of dreams that end within the horizon
    mean_value: Float[Array, ""]  # the critic where dreams begin


class DreamMetrics(NamedTuple):
    """``DeepSPIMetrics.dream`` of DreamSPI."""

    steps: DeepSPIMetrics  # of the gradient steps on dreams; without a model's losses
    imagined: Imagined
    replayed: DeepSPIMetrics | None = None  # of the gradient steps on past rollouts


def unpack_dream_metrics(packed: Iterable[Any]) -> DeepSPIMetrics:
    """The metrics whose leaves ``packed`` holds, of an agent that dreams."""
    values, n = list(packed), len(DeepSPIMetrics._fields) - 1
    real, steps = DeepSPIMetrics(*values[:n]), DeepSPIMetrics(*values[n : 2 * n])
    rest = values[2 * n :]
    imagined, replayed = rest[: len(Imagined._fields)], rest[len(Imagined._fields) :]
    dream = DreamMetrics(steps, Imagined(*imagined), DeepSPIMetrics(*replayed) if replayed else None)
    return real._replace(dream=dream)
