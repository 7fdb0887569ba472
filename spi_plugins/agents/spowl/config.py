"""Hyperparameters of SPOWL and TD-MPC2."""

import dataclasses
from typing import Literal

from spi_plugins.hyperparameters import Config, hyperparameter
from spi_plugins.world_models.tdmpc_networks import TDMPCConfig

Aggregation = Literal["mean", "min", "max"]
# Fields that reproduce errors of the published code, as does ``TDMPCConfig.official_log_prob``.
# Gradient steps of SPOWL's published runs: 5 million frames, 0.198 steps for each.
_PUBLISHED_STEPS = 990_000
OFFICIAL_ERRORS = ("official_consistency", "official_scale", "official_boundaries")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SPOWLConfig(Config):
    """Settings of the update. The defaults are the published code's without its errors."""

    model: TDMPCConfig = dataclasses.field(default_factory=TDMPCConfig)
    batch_size: int = hyperparameter(256, "Windows in a gradient step", low=1)
    rho: float = hyperparameter(0.5, "Weight of each step relative to the step before", low=0, high=1)
    consistency_coef: float = hyperparameter(20.0, "Weight of the latent's loss", low=0)
    reward_coef: float = hyperparameter(0.1, "Weight of the reward's loss", low=0)
    cost_coef: float = hyperparameter(0.1, "Weight of the cost's loss", low=0)
    value_coef: float = hyperparameter(0.1, "Weight of the critics' loss", low=0)
    cost_value_coef: float = hyperparameter(0.1, "Weight of the cost critics' loss", low=0)
    termination_coef: float = hyperparameter(
        1.0,
        "Weight of the loss of predicted ends, if the model is `episodic`",
        low=0,
        source="TD-MPC2's code",
    )
    decoder_coef: float = hyperparameter(0.0, "Weight of the decoder's loss, if there is a decoder", low=0)
    cost_weight: float = hyperparameter(10.0, "Weight of steps that cost over `minimal_cost`", low=0)
    minimal_cost: float = hyperparameter(
        0.0, "Steps that cost more get `cost_weight` in the cost's loss", low=0
    )
    cost_value_target: Aggregation = hyperparameter("mean", "Reduction of the slow cost critics to a target")
    image_shift: int = hyperparameter(
        3,
        "Pixels by which each image is shifted at random in training, at most",
        low=0,
        source="TD-MPC2's code",
    )
    encoder_lr_scale: float = hyperparameter(0.3, "Factor on the encoder's learning rate", low=0)
    max_grad_norm: float = hyperparameter(
        20.0, "Bound on the gradient norm of model and policy each", above=0
    )
    tau: float = hyperparameter(0.01, "Rate at which the slow critics follow", low=0, high=1)
    scale_tau: float = hyperparameter(0.01, "Rate at which the scale of the values follows", low=0, high=1)
    ent_coef: float = hyperparameter(1e-4, "Weight of the policy's entropy", low=0)
    use_lagrangian: bool = hyperparameter(True, "Costs in the policy's loss; `False`: in plans only")
    lagrangian_cost: Aggregation = hyperparameter("mean", "The same, in the policy's loss")
    cost_limit: float = hyperparameter(
        0.1,
        "Bound on the policy's mean cost value, the discounted sum of costs from a step on, not on an episode's cost; "
        "the published default allows almost none",
        low=0,
    )
    multiplier_init: float = hyperparameter(1e-6, "The multiplier at the start", low=0)
    penalty_init: float = hyperparameter(5e-9, "The penalty at the start", above=0)
    penalty_rate: float = hyperparameter(5e-6, "Relative growth of the penalty at each gradient step", low=0)
    multiplier_horizon: int | None = hyperparameter(
        None,
        "Gradient steps in which the multipliers take the course of the published ones over 990 thousand: start "
        "and growth of the penalty are multiplied by 990 000 / `multiplier_horizon`; `None` for the published course",
        low=1,
    )
    multiplier_max: float = hyperparameter(10.0, "Bound on the multiplier", above=0)
    official_consistency: bool = hyperparameter(False, "Count a masked row as one entry, as published")
    official_scale: bool = hyperparameter(False, "Let the gradient pass through the scale of the values")
    official_boundaries: bool = hyperparameter(False, "Learn the policy on final observations")

    @property
    def penalty_course(self) -> tuple[float, float]:
        """Start and relative growth of the penalty, scaled to the run's length.

        For a constant gap ``g`` the published multiplier is ``g * start / rate * (exp(rate * n) - 1)`` after ``n``
        steps. With both factors scaled by the same number it is the same function of the run's progress.
        """
        factor = 1.0 if self.multiplier_horizon is None else _PUBLISHED_STEPS / self.multiplier_horizon
        return self.penalty_init * factor, self.penalty_rate * factor

    @property
    def uses_lagrangian(self) -> bool:
        """Whether the policy's loss includes costs."""
        return self.use_lagrangian and self.model.n_costs > 0
