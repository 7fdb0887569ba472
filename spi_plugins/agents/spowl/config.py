"""Hyperparameters of SPOWL and TD-MPC2."""

import dataclasses
import math
from typing import Any, Literal

from spi_plugins.world_models.tdmpc import TDMPCConfig

Aggregation = Literal["mean", "min", "max"]
AGGREGATIONS = ("mean", "min", "max")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SPOWLConfig:
    """Settings of the update. The defaults are the published code's, but for its errors; ``official()`` has those.

    Attributes:
        model: the world model.
        batch_size: windows in a gradient step.
        rho: weight of a window's step in terms of the step before.
        consistency_coef: weight of the latent's loss.
        reward_coef: weight of the reward's loss.
        cost_coef: weight of the cost's loss.
        value_coef: weight of the critics' loss.
        cost_value_coef: weight of the cost critics' loss.
        decoder_coef: weight of the decoder's loss, if there is one.
        cost_weight: weight of a step with a cost above ``minimal_cost`` in the cost's loss.
        minimal_cost: see ``cost_weight``.
        cost_value_target: how the slow cost critics' values become one.
        encoder_lr_scale: the encoder's learning rate in terms of the others'.
        max_grad_norm: bound of the gradient's norm, of the model and of the policy.
        tau: rate at which the slow critics follow.
        scale_tau: rate at which the scale of the values follows.
        ent_coef: weight of the policy's entropy.
        lagrangian: the policy's loss has the cost; otherwise costs are for planners only.
        lagrangian_cost: how the cost critics' values become one there.
        cost_limit: bound of the mean cost value of the policy's actions, in units of cost times ``1 / (1 -
            cost_gamma)`` steps. It is no bound of an episode's cost.
        multiplier_init: the multiplier at the start.
        penalty_init: the penalty at the start.
        penalty_rate: its relative growth at each gradient step.
        multiplier_max: bound of the multiplier.
        official_consistency: the published denominator, which counts a masked row as one entry.
        official_scale: let the gradient pass through the scale of the values.
        official_boundaries: the policy's loss has last observations of episodes, too.
    """

    model: TDMPCConfig = dataclasses.field(default_factory=TDMPCConfig)
    batch_size: int = 256
    rho: float = 0.5
    consistency_coef: float = 20.0
    reward_coef: float = 0.1
    cost_coef: float = 0.1
    value_coef: float = 0.1
    cost_value_coef: float = 0.1
    decoder_coef: float = 0.0
    cost_weight: float = 10.0
    minimal_cost: float = 0.0
    cost_value_target: Aggregation = "mean"
    encoder_lr_scale: float = 0.3
    max_grad_norm: float = 20.0
    tau: float = 0.01
    scale_tau: float = 0.01
    ent_coef: float = 1e-4
    lagrangian: bool = True
    lagrangian_cost: Aggregation = "mean"
    cost_limit: float = 0.1
    multiplier_init: float = 1e-6
    penalty_init: float = 5e-9
    penalty_rate: float = 5e-6
    multiplier_max: float = 10.0
    official_consistency: bool = False
    official_scale: bool = False
    official_boundaries: bool = False

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ValueError: one is out of range; the message names it.
        """
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")
        for name in _UNIT_INTERVAL:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        for name in _NOT_NEGATIVE:
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be finite and at least 0, got {getattr(self, name)}")
        for name in ("max_grad_norm", "penalty_init", "multiplier_max"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in ("cost_value_target", "lagrangian_cost"):
            if getattr(self, name) not in AGGREGATIONS:
                raise ValueError(
                    f"{name} must be one of {', '.join(AGGREGATIONS)}, got {getattr(self, name)!r}"
                )

    @classmethod
    def official(cls, **settings: Any) -> "SPOWLConfig":
        """The published code, its errors included, for comparisons.

        Args:
            **settings: fields to set otherwise.
        """
        model = dataclasses.replace(settings.pop("model", TDMPCConfig()), official_log_prob=True)
        errors = {"official_consistency": True, "official_scale": True, "official_boundaries": True}
        return cls(model=model, **{**errors, **settings})

    @property
    def uses_lagrangian(self) -> bool:
        """Whether the policy's loss has the cost."""
        return self.lagrangian and self.model.n_costs > 0


_UNIT_INTERVAL = ("rho", "tau", "scale_tau")
_NOT_NEGATIVE = (
    *("consistency_coef", "reward_coef", "cost_coef", "value_coef", "cost_value_coef", "decoder_coef"),
    *("cost_weight", "encoder_lr_scale", "ent_coef", "cost_limit", "multiplier_init", "penalty_rate"),
    "minimal_cost",
)
