"""``DeepSPI``, ``DeepMDP`` and ``PPO`` under SB3's face: one agent, three places for the model losses."""

from typing import ClassVar

from spi_plugins.agents.deep_spi.config import DeepSPIConfig, PPOConfig
from spi_plugins.algorithms import signatures
from spi_plugins.algorithms.clipped import WORLD_MODEL_HYPERPARAMETERS, ClippedAlgorithm
from spi_plugins.algorithms.settings import (
    CNN_DEFAULTS,
    MLP_DEFAULTS,
    LearningRate,
    RolloutSettings,
    ShellSettings,
)
from spi_plugins.hyperparameters import by_policy, declared
from spi_plugins.losses.deep_spi import Auxiliary


class PPO(signatures.PPO, ClippedAlgorithm):
    """Proximal policy optimization (arXiv:1707.06347) with Deep SPI's networks: its baseline.

    With ``CnnPolicy`` the defaults are those of the Deep SPI paper's code for Atari, otherwise SB3's.

    Raises:
        ValueError: an argument is out of range.
    """

    auxiliary: ClassVar[Auxiliary] = "none"
    hyperparameters = by_policy(
        declared(LearningRate)
        | declared(RolloutSettings)
        | declared(PPOConfig, without=("batch_size",))
        | declared(ShellSettings),
        MLP_DEFAULTS,
        CNN_DEFAULTS,
    )


class DeepSPI(signatures.DeepSPI, ClippedAlgorithm):
    """Deep SPI (arXiv:2510.12312, ICLR 2026): model losses inside the clipped surrogate.

    The advantage becomes the per-sample utility ``A - α_R ℓ_R - α_P ℓ_P``, which the ratio multiplies and the
    clip bounds.
    The deviations from the official code are numbered in ``docs/deep_spi.md``. With both coefficients 0 this
    is ``PPO`` bit for bit.

    Raises:
        ValueError: an argument is out of range, or ``world_model_kwargs`` has an unknown key.
    """

    auxiliary: ClassVar[Auxiliary] = "utility"
    hyperparameters = by_policy(
        declared(LearningRate)
        | declared(RolloutSettings)
        | declared(DeepSPIConfig, without=("batch_size", "auxiliary", "termination_loss"))
        | WORLD_MODEL_HYPERPARAMETERS
        | declared(ShellSettings),
        MLP_DEFAULTS,
        CNN_DEFAULTS,
    )


class DeepMDP(signatures.DeepMDP, ClippedAlgorithm):
    """DeepMDP (arXiv:1906.02736) on PPO: the same model losses, added to the clipped surrogate.

    Arguments and defaults are those of ``DeepSPI``, for a comparison of like with like.
    """

    auxiliary: ClassVar[Auxiliary] = "additive"
    hyperparameters = DeepSPI.hyperparameters
