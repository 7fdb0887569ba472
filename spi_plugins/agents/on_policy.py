"""What an on-policy agent is: its state, what it decides and what it reports."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from jaxtyping import Array, Float

from spi_plugins.networks.actor_critic import ActorCritic
from spi_plugins.types import Observation, Params, PyTree, Rollout
from spi_plugins.world_models.deep_mdp import DeepMDP


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


class OnPolicyAgent(NamedTuple):
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
