"""``DeepSPI``, ``DeepMDP`` and ``PPO`` under SB3's face: one agent, three places for the model losses."""

from collections.abc import Mapping
from typing import ClassVar

from spi_plugins.agents.constraint import CostConfig
from spi_plugins.agents.deep_spi.config import DeepSPIConfig, PPOConfig
from spi_plugins.algorithms import signatures
from spi_plugins.algorithms.clipped import WORLD_MODEL_HYPERPARAMETERS, ClippedAlgorithm
from spi_plugins.algorithms.settings import (
    CNN_DEFAULTS,
    MLP_DEFAULTS,
    ConstraintSettings,
    LearningRate,
    RolloutSettings,
    ShellSettings,
)
from spi_plugins.hyperparameters import Hyperparameter, by_policy, declared
from spi_plugins.losses.deep_spi import Auxiliary

CONSTRAINT_HYPERPARAMETERS = declared(ConstraintSettings) | declared(CostConfig)


# Files from before PPOLag and PPOPID had critics of costs.
_PRICED_REWARDS = {
    "lagrange_state": "was written when PPOLag and PPOPID subtracted the cost from the reward; now they have a critic "
    "of costs, which the file lacks. Train anew, or load it with that version of spi-plugins"
}


class PPO(signatures.PPO, ClippedAlgorithm):
    """Proximal policy optimization (arXiv:1707.06347) with Deep SPI's networks: its baseline.

    With ``CnnPolicy`` the defaults are those of the Deep SPI paper's code for Atari, otherwise SB3's.

    Raises:
        ValueError: an argument is out of range.
    """

    auxiliary: ClassVar[Auxiliary] = "none"
    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = by_policy(
        declared(LearningRate)
        | declared(RolloutSettings)
        | declared(PPOConfig, without=("batch_size",))
        | CONSTRAINT_HYPERPARAMETERS
        | declared(ShellSettings),
        MLP_DEFAULTS,
        CNN_DEFAULTS,
    )


def _constrained(method: str) -> Mapping[str, Hyperparameter]:
    """PPO's hyperparameters, with a constraint by default."""
    constraint = PPO.hyperparameters["constraint"]._replace(default=method)
    return {**PPO.hyperparameters, "constraint": constraint}


class PPOLag(PPO):
    """PPO-Lagrangian (Ray et al., 2019): ``PPO(constraint="lagrangian")``, which has a critic of costs.

    Raises:
        ValueError: an argument is out of range.
    """

    hyperparameters = _constrained("lagrangian")
    outdated_arguments = _PRICED_REWARDS


class PPOPID(PPO):
    """CPPO-PID (Stooke et al., 2020, arXiv:2007.03964): ``PPO(constraint="pid")``, which has a critic of costs.

    Raises:
        ValueError: an argument is out of range.
    """

    hyperparameters = _constrained("pid")
    outdated_arguments = _PRICED_REWARDS


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
        | CONSTRAINT_HYPERPARAMETERS
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
