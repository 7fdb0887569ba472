"""What an on-policy agent is: its settings, its state, what it decides and what it reports."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple, TypeAlias

from jaxtyping import Array, Float

from spi_plugins.losses.deep_spi import Auxiliary
from spi_plugins.networks.actor_critic import ActorCritic
from spi_plugins.types import Observation, Params, PyTree, Rollout
from spi_plugins.world_models.deep_mdp import DeepMDP

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


class DeepSPIState(NamedTuple):
    """All that an update changes and a resume needs."""

    params: Params  # {"policy": ..., "world_model": ...}
    opt_state: PyTree
    key: Array
    replay: PyTree = ()  # past rollouts, of an agent that replays them


class Act(NamedTuple):
    """One decision for each of ``B`` observations."""

    action: Array  # as sampled; the log-probability is of this one
    env_action: Array  # what the environment gets: clipped to the bounds of a Box
    log_prob: Float[Array, " B"]
    value: Float[Array, " B"]


class DeepSPIMetrics(NamedTuple):
    """Scalars of one update. Losses are means over all minibatches; ratios are those of the last epoch."""

    loss: Float[Array, ""]
    policy_gradient_loss: Float[Array, ""]
    value_loss: Float[Array, ""]
    entropy_loss: Float[Array, ""]
    approx_kl: Float[Array, ""]
    clip_fraction: Float[Array, ""]
    reward_loss: Float[Array, ""]
    transition_loss: Float[Array, ""]
    termination_loss: Float[Array, ""]
    gradient_penalty: Float[Array, ""]
    grad_norm: Float[Array, ""]
    latent_norm: Float[Array, ""]
    ratio_min: Float[Array, ""]
    ratio_max: Float[Array, ""]
    ratio_outside: Float[Array, ""]
    explained_variance: Float[Array, ""]
    std: Float[Array, ""]
    n_updates: Float[Array, ""]  # gradient steps that were applied
    dream: PyTree = ()  # further scalars of an agent that dreams


def unpack_metrics(packed: Iterable[Any]) -> DeepSPIMetrics:
    """The metrics whose leaves ``packed`` holds, of an agent that does not dream."""
    return DeepSPIMetrics(*packed)


class Agent(NamedTuple):
    """Pure functions; wrap them in ``jit`` where they are called.

    Attributes:
        init: ``(key) -> DeepSPIState``.
        act: ``(params, obs, key) -> Act``, sampled.
        predict: ``(params, obs, key, deterministic) -> env_action``, with a static ``deterministic``.
        value: ``(params, obs) -> [B]``.
        update: ``(state, rollout, learning_rate, clip_range) -> (state, DeepSPIMetrics)``.
        policy: the networks behind it.
        world_model: the latent model, or ``None``.
        has_std: the policy is Gaussian, so that ``std`` means something.
        unpack: ``(leaves of the metrics) -> DeepSPIMetrics``.
    """

    init: Callable[[Array], DeepSPIState]
    act: Callable[[Params, Observation, Array], Act]
    predict: Callable[..., Array]
    value: Callable[[Params, Observation], Array]
    update: Callable[[DeepSPIState, Rollout, Array, Array], tuple[DeepSPIState, DeepSPIMetrics]]
    policy: ActorCritic
    world_model: DeepMDP | None
    has_std: bool
    unpack: Callable[[Iterable[Any]], DeepSPIMetrics] = unpack_metrics
