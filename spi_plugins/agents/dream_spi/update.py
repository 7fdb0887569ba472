"""DreamSPI as a pure agent: the model learns from real steps, the policy from dreams in that model.

Source: the model-based variant in the code published with Deep SPI (arXiv:2510.12312). One update is

1. the Deep SPI loss on the rollout, for encoder and world model (with ``dyna`` also for actor and critic);
2. if past rollouts are kept, the same on sequences drawn from them, corrected for the policies that collected them;
3. the clipped surrogate on short dreams from every state of the rollout, for actor and critic.

``docs/dream_spi.md`` numbers the deviations from that code.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from spi_plugins.agents.deep_spi.metrics import DeepSPIMetrics
from spi_plugins.agents.deep_spi.minibatches import flatten_rollout
from spi_plugins.agents.dream_spi.config import DreamSPIConfig
from spi_plugins.agents.dream_spi.imagination import Imagined
from spi_plugins.agents.dream_spi.phases import dream, learn_slices, replay
from spi_plugins.agents.dream_spi.replay import Ring, add_rollout, init_ring
from spi_plugins.agents.dream_spi.slices import Training, init_slices
from spi_plugins.agents.gradient_steps import TrainState, accept
from spi_plugins.agents.on_policy import OnPolicyAgent, Parts, make_agent
from spi_plugins.agents.optimizer import make_optimizer
from spi_plugins.distributions import action_distribution
from spi_plugins.losses.ppo import ClipRanges
from spi_plugins.networks.actor_critic import ActorCriticConfig, make_actor_critic
from spi_plugins.types import ActionSpec, ObservationSpec, Params, PyTree, Rollout
from spi_plugins.world_models.deep_mdp import make_deep_mdp
from spi_plugins.world_models.deep_mdp_networks import DeepMDPConfig

_MODEL, _POLICY = ("representation", "world_model"), ("actor", "critic")


class DreamSPIState(NamedTuple):
    """All that an update changes and a resume needs."""

    params: Params  # {"policy": ..., "world_model": ...}
    opt_state: PyTree  # {slice: ...}
    key: Array
    replay: Ring | tuple[()]  # past rollouts, if they are kept


class DreamSPIMetrics(NamedTuple):
    """Scalars of an update, by phase."""

    loss: Float[Array, ""]  # the sum over the phases
    n_updates: Float[Array, ""]  # gradient steps of all phases
    real: DeepSPIMetrics
    dreams: DeepSPIMetrics
    imagined: Imagined
    replayed: DeepSPIMetrics | None


def _make_update(
    parts: Parts, config: DreamSPIConfig, optimizer: optax.GradientTransformation
) -> Callable[..., tuple[DreamSPIState, DreamSPIMetrics]]:
    real_slices = _MODEL + _POLICY if config.dyna else _MODEL

    def update(
        state: DreamSPIState,
        rollout: Rollout,
        learning_rate: Float[Array, "4"],
        clip_range: ClipRanges,
        learnable: Array | None = None,
    ) -> tuple[DreamSPIState, DreamSPIMetrics]:
        """All phases. Learning rates are in the order of ``SLICES``; the two ratios are of real steps and of dreams."""
        clip_real, clip_dreams = (clip_range._replace(ratio=clip_range.ratio[phase]) for phase in (0, 1))
        next_key, real_key, dream_key = jax.random.split(state.key, 3)
        data = flatten_rollout(rollout, config.real.gamma, config.real.gae_lambda)
        on_real, in_dreams = (Training(optimizer, slices, learning_rate) for slices in (real_slices, _POLICY))
        learner = start = TrainState(state.params, state.opt_state)
        learner, real = learn_slices(learner, on_real, parts, data, clip_real, real_key)
        ring, replayed = state.replay, None
        if config.replay is not None:
            assert isinstance(ring, Ring)
            ring = add_rollout(ring, rollout, learnable)
            replay_key = jax.random.fold_in(real_key, 1)
            learner, replayed = replay(parts, config.replay, learner, on_real, ring, clip_real, replay_key)
        learner, (dreams, imagined) = dream(parts, config, learner, in_dreams, data, clip_dreams, dream_key)
        phases = [real, dreams, *([] if replayed is None else [replayed])]
        loss = sum((phase.loss for phase in phases), jnp.zeros(()))
        learner, loss = accept(learner, start, loss, learnable)
        metrics = DreamSPIMetrics(
            loss=loss,
            n_updates=sum((phase.n_updates for phase in phases), jnp.zeros(())),
            real=real,
            dreams=dreams,
            imagined=imagined,
            replayed=replayed,
        )
        return DreamSPIState(learner.params, learner.opt_state, next_key, ring), metrics

    return update


def make_dream_spi(
    observations: ObservationSpec,
    actions: ActionSpec,
    policy_config: ActorCriticConfig,
    config: DreamSPIConfig,
    world_model_config: DeepMDPConfig,
) -> OnPolicyAgent:
    """Bind networks, world model and losses into an agent.

    Its ``update`` takes four learning rates, in the order of ``slices.SLICES``, and a clip range of the
    ratio for real steps and one for dreams.

    Raises:
        ValueError: a critic that reads the observation, or a model that does not predict termination.
    """
    policy = make_actor_critic(observations, actions, policy_config)
    if policy.judge is None:
        raise ValueError(
            "latent_arch=None leaves the critic on the observation, which a dream does not have; give the widths of "
            "the layers between observation and latent, for example latent_arch=[64]."
        )
    if not world_model_config.termination:
        raise ValueError("termination=False leaves dreams without an end; the world model must predict it.")
    model = make_deep_mdp(policy.latent_shape, actions, world_model_config)
    distribution = action_distribution(actions, squash=policy_config.squash_output)
    parts = Parts(config.real, actions, policy, distribution, model)
    optimizer = make_optimizer(config.real.max_grad_norm, config.real.optimizer)

    def init(key: Array) -> DreamSPIState:
        policy_key, model_key, run_key = jax.random.split(key, 3)
        params = {"policy": policy.init(policy_key), "world_model": model.init(model_key)}
        ring = () if config.replay is None else init_ring(observations, actions, *config.replay.shape)
        return DreamSPIState(*init_slices(params, optimizer), run_key, ring)

    return make_agent(parts, init, _make_update(parts, config, optimizer))
