"""DreamSPI as a pure agent: the model learns from real steps, the policy from the dreams that it has in the model.

Source: the model-based variant in the code published with Deep SPI (arXiv:2510.12312). One update is

1. the Deep SPI loss on the rollout, for encoder and world model (with ``dyna`` for actor and critic, too);
2. dreams of some steps from every state of the rollout, and the clipped surrogate on them, for actor and critic.

Where it differs from that code is numbered in ``docs/dream_spi.md``.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from spi_plugins.agents.acting import make_acting
from spi_plugins.agents.dream_interface import DreamMetrics, DreamSPIConfig, unpack_dream_metrics
from spi_plugins.agents.imagination import describe_dream, dream_rows, imagine
from spi_plugins.agents.interface import Agent, DeepSPIMetrics, DeepSPIState
from spi_plugins.agents.minibatches import Minibatch, flatten_rollout, shuffled, take_minibatch
from spi_plugins.agents.objective import Parts, objective
from spi_plugins.agents.slices import Descent, Learner, descend, init_learner, make_optimizer
from spi_plugins.agents.summary import StepStats, summarize
from spi_plugins.distributions import action_distribution
from spi_plugins.networks.actor_critic import ActorCritic, PolicyConfig, make_actor_critic
from spi_plugins.types import ActionSpec, Observation, ObservationSpec, Params, Rollout
from spi_plugins.world_models.deep_mdp import DeepMDPConfig, make_deep_mdp

_MODEL, _POLICY = ("representation", "world_model"), ("actor", "critic")


class _Rows(NamedTuple):
    """What a phase learns from, as ``flatten_rollout`` gives it."""

    rows: Minibatch
    final_obs: Observation | None
    n_envs: int


def _on_latents(policy: ActorCritic) -> ActorCritic:
    """The policy of one who sees latents: they are observations, features and latents in one."""
    return policy._replace(features=lambda params, z: z, latent=lambda params, z: z)


def _learn(
    learner: Learner, parts: Parts, descent: Descent, data: _Rows, clip_range: Array, key: Array
) -> tuple[Learner, DeepSPIMetrics]:
    """All epochs and minibatches of ``parts``' objective on rows."""
    config, n_rows = parts.config, data.rows.reward.shape[0]
    shuffle_key, loss_key = jax.random.split(key)
    indices = shuffled(shuffle_key, n_rows, config.n_epochs, config.batch_size)

    def loss(params: Params, entry: tuple[Array, Array]) -> tuple[Array, StepStats]:
        with_next = parts.world_model is not None
        batch = take_minibatch(data.rows, data.final_obs, entry[0], data.n_envs, with_next=with_next)
        value, metrics = objective(params, parts, batch, clip_range, entry[1])
        return value, StepStats(metrics, jnp.sum(batch.valid).astype(jnp.float32))

    learner, stats = descend(learner, descent, loss, (indices, jax.random.split(loss_key, len(indices))))
    return learner, summarize(stats, data.rows, n_rows // config.batch_size)


def _encode(parts: Parts, params: Params, obs: Observation, n_rows: int) -> Float[Array, " N *z"]:
    """Latents of the first ``n_rows`` observations, a minibatch at a time to hold few feature maps."""
    chunks = jax.tree.map(lambda x: x[:n_rows].reshape(-1, parts.config.batch_size, *x.shape[1:]), obs)

    def encode(chunk: Observation) -> Array:
        return parts.policy.latent(params["policy"], parts.policy.features(params["policy"], chunk))

    z: Array = jax.lax.map(encode, chunks)
    return z.reshape(n_rows, *z.shape[2:])


def _make_dreaming(
    parts: Parts, config: DreamSPIConfig
) -> Callable[[Learner, Descent, Minibatch, Array, Array], tuple[Learner, DreamMetrics]]:
    on_latents = parts._replace(config=config.dream, policy=_on_latents(parts.policy), world_model=None)

    def dreaming(
        learner: Learner, descent: Descent, rows: Minibatch, clip_range: Array, key: Array
    ) -> tuple[Learner, DreamMetrics]:
        """Imagine from every state of the rollout, and learn from that."""
        z = _encode(parts, learner.params, rows.obs, rows.valid.shape[0])

        def once(learner: Learner, key: Array) -> tuple[Learner, DreamMetrics]:
            dream_key, learn_key = jax.random.split(key)
            dream = imagine(
                parts,
                learner.params,
                z,
                rows.valid,  # a reset row's observation is no state to dream from
                dream_key,
                horizon=config.imagination_horizon,
                soft_termination=config.soft_termination,
            )
            imagined = _Rows(dream_rows(dream, config.dream), None, 0)
            learner, metrics = _learn(learner, on_latents, descent, imagined, clip_range, learn_key)
            return learner, DreamMetrics(metrics, describe_dream(dream, config.real.gamma))

        keys = jax.random.split(key, config.n_imagination_rollouts)
        learner, all_metrics = jax.lax.scan(once, learner, keys)
        means: DreamMetrics = jax.tree.map(jnp.mean, all_metrics)
        steps = means.steps._replace(
            n_updates=jnp.sum(all_metrics.steps.n_updates),
            ratio_min=jnp.min(all_metrics.steps.ratio_min),
            ratio_max=jnp.max(all_metrics.steps.ratio_max),
        )
        return learner, means._replace(steps=steps)

    return dreaming


def _make_update(
    parts: Parts, config: DreamSPIConfig, optimizer: optax.GradientTransformation
) -> Callable[[DeepSPIState, Rollout, Array, Array], tuple[DeepSPIState, DeepSPIMetrics]]:
    dreaming = _make_dreaming(parts, config)
    real_slices = _MODEL + _POLICY if config.dyna else _MODEL

    def update(
        state: DeepSPIState,
        rollout: Rollout,
        learning_rate: Float[Array, "4"],
        clip_range: Float[Array, "2"],
    ) -> tuple[DeepSPIState, DeepSPIMetrics]:
        """Both phases. Learning rates are in the order of ``SLICES``; clip ranges are of real steps and of dreams."""
        next_key, real_key, dream_key = jax.random.split(state.key, 3)
        real = _Rows(
            *flatten_rollout(rollout, config.real.gamma, config.real.gae_lambda), rollout.reward.shape[1]
        )
        learner = Learner(state.params, state.opt_state)
        learner, metrics = _learn(
            learner, parts, Descent(optimizer, real_slices, learning_rate), real, clip_range[0], real_key
        )
        learner, dream = dreaming(
            learner, Descent(optimizer, _POLICY, learning_rate), real.rows, clip_range[1], dream_key
        )
        metrics = metrics._replace(
            loss=metrics.loss + dream.steps.loss,
            n_updates=metrics.n_updates + dream.steps.n_updates,
            dream=dream,
        )
        return state._replace(params=learner.params, opt_state=learner.opt_state, key=next_key), metrics

    return update


def make_dream_spi(
    observations: ObservationSpec,
    actions: ActionSpec,
    policy_config: PolicyConfig,
    config: DreamSPIConfig,
    world_model_config: DeepMDPConfig,
) -> Agent:
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
        return DeepSPIState(learner.params, learner.opt_state, run_key)

    return Agent(
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
