"""Hyperparameters of Deep SPI, DeepMDP and PPO."""

import dataclasses
from typing import Literal, TypeAlias

from spi_plugins.agents.optimizer import OptimizerConfig
from spi_plugins.hyperparameters import Config, hyperparameter
from spi_plugins.losses.deep_spi import Auxiliary

TerminationLoss: TypeAlias = Literal["cross_entropy", "smooth_l1"]
Correction: TypeAlias = Literal["ratio", "vtrace"]
Neighborhood: TypeAlias = Literal["clip", "strict"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PPOConfig(Config):
    """Settings of the update that need no world model, under SB3's names; the defaults are Deep SPI's."""

    batch_size: int = hyperparameter(256, "Transitions in a minibatch", low=1)
    n_epochs: int = hyperparameter(4, "Passes over a rollout", low=1)
    gamma: float = hyperparameter(0.99, "Discount per environment step", low=0, high=1)
    gae_lambda: float = hyperparameter(
        0.95,
        "Advantage estimate between one-step differences (0) and Monte Carlo returns (1)",
        low=0,
        high=1,
        source="arXiv:1506.02438",
    )
    normalize_advantage: bool = hyperparameter(True, "Standardize the advantages of each minibatch")
    ent_coef: float = hyperparameter(0.01, "Weight of the entropy bonus", low=0)
    vf_coef: float = hyperparameter(0.5, "Weight of the value loss", low=0)
    max_grad_norm: float = hyperparameter(0.5, "Bound on the norm of all gradients together", above=0)
    target_kl: float | None = hyperparameter(
        None,
        "End an update once the KL estimate passes 1.5 times this; `None` for never",
        above=0,
    )
    sde_sample_freq: int = hyperparameter(
        -1,
        "With `use_sde`, steps between new noise; -1 for the start of each rollout only",
        low=1,
        also=(-1,),
    )
    optimizer: OptimizerConfig = OptimizerConfig()  # noqa: RUF009  frozen


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepSPIConfig(PPOConfig):
    """Settings of an update with a world model."""

    auxiliary: Auxiliary = hyperparameter("utility", "Where the model losses enter")
    reward_loss_coef: float = hyperparameter(0.01, "Weight of the reward loss, alpha_R in the paper", low=0)
    transition_loss_coef: float = hyperparameter(
        5e-4,
        "Weight of the transition loss, alpha_P in the paper; the loss is a sum over the latent's dimensions",
        low=0,
    )
    piecewise_auxiliary: bool = hyperparameter(
        True, "Subtract each sample's own model loss; `False`: its mean"
    )
    drift_coef: float | None = hyperparameter(None, "Weight of the drift; `None`: clipped surrogate", low=0)
    neighborhood: Neighborhood = hyperparameter(
        "clip",
        'How the policy is kept near the old one: `"clip"` by the surrogate alone, which bounds no ratio; `"strict"` '
        "also walks an update back until every action's ratio in every state of the rollout is in `[2 - C, C]` "
        "(discrete actions)",
    )
    C: float | str | None = hyperparameter(
        None,
        'Bound of the strict neighborhood; `None` for 1 + `clip_range`, `"1/gamma"` for the largest that the paper\'s '
        "theorems allow",
        above=1,
        below=2,
        also=("1/gamma",),
    )
    termination_loss: TerminationLoss = hyperparameter(
        "smooth_l1",
        'Loss of the termination predictor; the published `"smooth_l1"` has no gradient where the model is sure and '
        'wrong, so it may learn to say "never" and stay there',
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.neighborhood == "clip" and self.C is not None:
            raise ValueError(f"C={self.C!r} needs neighborhood='strict'; the clip's bound is clip_range.")
        if self.C == "1/gamma" and self.gamma == 1:
            raise ValueError(
                "C='1/gamma' needs gamma below 1: at 1 the neighborhood is the old policy alone."
            )

    @property
    def uses_world_model(self) -> bool:
        """Whether a model loss can matter. If not, no model is built, and the agent is PPO bit for bit."""
        return self.auxiliary != "none" and (self.reward_loss_coef > 0 or self.transition_loss_coef > 0)
