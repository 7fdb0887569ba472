"""Hyperparameters of Deep SPI, DeepMDP and PPO."""

import dataclasses
from typing import Literal, TypeAlias

from spi_plugins.losses.deep_spi import Auxiliary

TerminationLoss: TypeAlias = Literal["smooth_l1", "cross_entropy"]
Correction: TypeAlias = Literal["ratio", "vtrace"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepSPIConfig:
    """Settings of the update, under SB3's names. The defaults are the official ones.

    Attributes:
        gamma: discount per environment step.
        gae_lambda: trade-off of the advantage estimate, see ``returns``.
        n_epochs: passes over a rollout.
        batch_size: transitions in a minibatch; must divide the rollout.
        ent_coef: weight of the entropy bonus.
        vf_coef: weight of the value loss.
        max_grad_norm: one global norm bound for policy, critic, encoder and world model together.
        normalize_advantage: zero mean and unit deviation within each minibatch.
        clip_range_vf: bound on the critic's change, ``None`` for no bound.
        target_kl: stop the update's remaining steps once a minibatch's KL passes 1.5 times this; ``None``: never.
        auxiliary: where the model losses enter.
        reward_loss_coef: :math:`alpha_R`.
        transition_loss_coef: :math:`alpha_P`; calibrated to a sum over the latent's dimensions.
        piecewise_auxiliary: subtract each sample's own model loss; false subtracts the minibatch mean.
        drift_coef: ``None`` for the clipped surrogate, else the weight of the drift formulation.
        termination_loss: of a model that predicts termination. The official smooth-L1 has no gradient where the model
            is sure and wrong, and ends are rare: "never" may be where it stays.
    """

    gamma: float = 0.99
    gae_lambda: float = 0.95
    n_epochs: int = 4
    batch_size: int = 256
    ent_coef: float = 0.01
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5
    normalize_advantage: bool = True
    clip_range_vf: float | None = None
    target_kl: float | None = None
    auxiliary: Auxiliary = "utility"
    reward_loss_coef: float = 0.01
    transition_loss_coef: float = 5e-4
    piecewise_auxiliary: bool = True
    drift_coef: float | None = None
    termination_loss: TerminationLoss = "smooth_l1"

    @property
    def uses_world_model(self) -> bool:
        """False if no model loss can matter: then none is built, and the agent is PPO bit for bit."""
        return self.auxiliary != "none" and (self.reward_loss_coef > 0 or self.transition_loss_coef > 0)
