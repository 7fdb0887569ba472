"""DreamSPI as a pure agent: the model learns from real steps, the policy from the dreams that it has in the model.

Source: the model-based variant in the code published with Deep SPI (arXiv:2510.12312). One update is

1. the Deep SPI loss on the rollout, for encoder and world model (with ``dyna`` for actor and critic, too);
2. if past rollouts are kept, the same on sequences of these, corrected for the policies that collected them;
3. dreams of some steps from every state of the rollout, and the clipped surrogate on them, for actor and critic.

Where it differs from that code is numbered in ``docs/dream_spi.md``.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from spi_plugins.agents.deep_spi.acting import make_acting
from spi_plugins.agents.deep_spi.loss import Parts
from spi_plugins.agents.deep_spi.minibatches import flatten_rollout
from spi_plugins.agents.dream_spi.config import DreamSPIConfig, unpack_dream_metrics
from spi_plugins.agents.dream_spi.phases import Rows, learn, make_dreaming, make_replaying
from spi_plugins.agents.dream_spi.rollout_ring import add_rollout, init_ring
from spi_plugins.agents.dream_spi.slices import Descent, Learner, init_learner, make_optimizer
from spi_plugins.agents.on_policy import DeepSPIMetrics, DeepSPIState, OnPolicyAgent
from spi_plugins.distributions import action_distribution
from spi_plugins.networks.actor_critic import ActorCriticConfig, make_actor_critic
from spi_plugins.types import ActionSpec, ObservationSpec, Rollout
from spi_plugins.world_models.deep_mdp import DeepMDPConfig, make_deep_mdp

_MODEL, _POLICY = ("representation", "world_model"), ("actor", "critic")


def _make_update(
    parts: Parts, config: DreamSPIConfig, optimizer: optax.GradientTransformation
) -> Callable[[DeepSPIState, Rollout, Array, Array], tuple[DeepSPIState, DeepSPIMetrics]]:
    real_slices = _MODEL + _POLICY if config.dyna else _MODEL
    dreaming = make_dreaming(parts, config)
    replaying = None if config.replay is None else make_replaying(parts, config.replay)

    def update(
        state: DeepSPIState,
        rollout: Rollout,
        learning_rate: Float[Array, "4"],
        clip_range: Float[Array, "2"],
    ) -> tuple[DeepSPIState, DeepSPIMetrics]:
        """All phases. Learning rates are in the order of ``SLICES``; clip ranges are of real steps and of dreams."""
        next_key, real_key, dream_key = jax.random.split(state.key, 3)
        rows, final_obs = flatten_rollout(rollout, config.real.gamma, config.real.gae_lambda)
        on_real, in_dreams = (
            Descent(optimizer, trained, learning_rate) for trained in (real_slices, _POLICY)
        )
        learner = Learner(state.params, state.opt_state)
        learner, metrics = learn(
            learner, parts, on_real, Rows(rows, final_obs, rollout.reward.shape[1]), clip_range[0], real_key
        )
        ring, replayed = state.replay, None
        if replaying is not None:
            ring = add_rollout(ring, rollout)
            replay_key = jax.random.fold_in(real_key, 1)
            learner, replayed = replaying(learner, on_real, ring, clip_range[0], replay_key)
        learner, dream = dreaming(learner, in_dreams, rows, clip_range[1], dream_key)
        phases = [metrics, dream.steps, *([] if replayed is None else [replayed])]
        metrics = metrics._replace(
            loss=sum((phase.loss for phase in phases), jnp.zeros(())),
            n_updates=sum((phase.n_updates for phase in phases), jnp.zeros(())),
            dream=dream._replace(replayed=replayed),
        )
        return DeepSPIState(learner.params, learner.opt_state, next_key, ring), metrics

    return update


def make_dream_spi(
    observations: ObservationSpec,
    actions: ActionSpec,
    policy_config: ActorCriticConfig,
    config: DreamSPIConfig,
    world_model_config: DeepMDPConfig,
) -> OnPolicyAgent:
    """Bind networks, world model and losses into an agent.

    Its ``update`` takes four learning rates, in the order of ``slices.SLICES``, and two clip ranges, of real steps and
    of dreams. ``loss`` and ``n_updates`` of the metrics are of both phases.

    Args:
        observations: what the environment shows.
        actions: what it takes.
        policy_config: sizes of actor, critic and encoder; actor and critic must read the latent alone.
        config: both phases.
        world_model_config: the latent model; it must predict termination.

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
    parts = Parts(config.real, actions, policy, action_distribution(actions), model)
    optimizer = make_optimizer(config.real.max_grad_norm)
    acting = make_acting(parts)

    def init(key: Array) -> DeepSPIState:
        policy_key, model_key, run_key = jax.random.split(key, 3)
        learner = init_learner(
            {"policy": policy.init(policy_key), "world_model": model.init(model_key)}, optimizer
        )
        ring = () if config.replay is None else init_ring(observations, actions, *config.replay.shape)
        return DeepSPIState(learner.params, learner.opt_state, run_key, ring)

    return OnPolicyAgent(
        init=init,
        act=acting.act,
        predict=acting.predict,
        value=acting.value,
        update=_make_update(parts, config, optimizer),
        policy=policy,
        world_model=model,
        has_std=actions.kind == "box",
        unpack=unpack_dream_metrics,
    )
