"""Hyperparameters of DreamSPI."""

import dataclasses

from spi_plugins.agents.deep_spi.config import Correction, DeepSPIConfig
from spi_plugins.checks import check_number
from spi_plugins.hyperparameters import Config, hyperparameter


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReplayConfig(Config):
    """Past rollouts, and how they are used."""

    n_steps: int  # of each environment in a rollout
    n_envs: int
    replay_size: int = hyperparameter(
        0,
        "Steps of past rollouts to keep on the device and in the model file, with two observations each; 0 for none",
        low=0,
    )
    n_replays: int = hyperparameter(
        1,
        "With `replay_size`, rollouts' worth of past sequences from which encoder and world model learn after each "
        "rollout, in `n_epochs` passes each",
        low=1,
    )
    replay_correction: Correction = hyperparameter(
        "vtrace",
        'Correction for the policies that collected them: `"ratio"` weighs the steps by probability ratios, `"vtrace"` '
        "also corrects targets and advantages",
        source="arXiv:1802.01561",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.replay_size < self.n_steps * self.n_envs:
            raise ValueError(
                f"replay_size={self.replay_size} must be 0 or hold a rollout of n_steps * n_envs = {self.n_steps} * "
                f"{self.n_envs} = {self.n_steps * self.n_envs} steps."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Sequences in the ring, and steps of each."""
        return self.replay_size // self.n_steps, self.n_steps


@dataclasses.dataclass(frozen=True, kw_only=True)
class DreamSPIConfig(Config):
    """Settings of an update in two phases. The defaults are the official ones."""

    # The phase on real steps; its discounts, coefficients and gradient bound also hold in dreams.
    real: DeepSPIConfig = DeepSPIConfig()  # noqa: RUF009  frozen
    dyna: bool = hyperparameter(False, "Let actor and critic learn from real steps as well")
    imagination_horizon: int = hyperparameter(8, "Steps of a dream", low=1)
    imagination_epochs: int = hyperparameter(1, "Passes over the dreams", low=1)
    imagination_batch_size: int = hyperparameter(256, "Imagined steps in a minibatch", low=1)
    n_imagination_rollouts: int = hyperparameter(1, "Rounds of dreams after each rollout", low=1)
    soft_termination: bool = hyperparameter(
        False,
        "Discount what follows by the predicted probability of termination; otherwise termination is sampled",
    )
    replay: ReplayConfig | None = None  # past rollouts to learn from as well

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("reward_loss_coef", "transition_loss_coef"):
            check_number(name, getattr(self.real, name), low=0, open_low=True)
        if self.real.auxiliary == "none":
            raise ValueError("auxiliary must be 'utility' or 'additive' to dream, got 'none'.")

    @property
    def dream(self) -> DeepSPIConfig:
        """Settings of the phase on imagined steps."""
        return dataclasses.replace(
            self.real,
            auxiliary="none",
            n_epochs=self.imagination_epochs,
            batch_size=self.imagination_batch_size,
        )
