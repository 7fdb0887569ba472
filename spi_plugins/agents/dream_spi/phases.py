"""The phases of DreamSPI's update: learn from real rows, from replayed ones, and from dreams."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from spi_plugins.agents.deep_spi.loss import Parts, objective
from spi_plugins.agents.deep_spi.minibatches import Minibatch, shuffled, take_minibatch
from spi_plugins.agents.deep_spi.summary import StepStats, summarize
from spi_plugins.agents.dream_spi.config import DreamMetrics, DreamSPIConfig, ReplayConfig
from spi_plugins.agents.dream_spi.imagination import describe_dream, dream_rows, imagine
from spi_plugins.agents.dream_spi.replay import corrected_rows
from spi_plugins.agents.dream_spi.rollout_ring import Ring, draw
from spi_plugins.agents.dream_spi.slices import Descent, Learner, descend
from spi_plugins.agents.on_policy import DeepSPIMetrics
from spi_plugins.networks.actor_critic import ActorCritic
from spi_plugins.types import Observation, Params


class Rows(NamedTuple):
    """What a phase learns from: flattened steps, and what leads to their successors (see ``take_minibatch``)."""

    rows: Minibatch
    final_obs: Observation | None
    n_envs: int


Dreaming: TypeAlias = Callable[[Learner, Descent, Minibatch, Array, Array], tuple[Learner, DreamMetrics]]
Replaying: TypeAlias = Callable[[Learner, Descent, Ring, Array, Array], tuple[Learner, DeepSPIMetrics]]


def learn(
    learner: Learner, parts: Parts, descent: Descent, data: Rows, clip_range: Array, key: Array
) -> tuple[Learner, DeepSPIMetrics]:
    """All epochs and minibatches of the objective on rows.

    Args:
        learner: what learns.
        parts: of the objective; ``parts.config`` has epochs and batch size.
        descent: which slices learn, and how fast.
        data: what from.
        clip_range: of the surrogate.
        key: of orders and losses.
    """
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


def _over_rounds(metrics: DeepSPIMetrics) -> DeepSPIMetrics:
    """Scalars of several rounds of ``learn``, with a leading axis, as one."""
    means: DeepSPIMetrics = jax.tree.map(jnp.mean, metrics)
    return means._replace(
        n_updates=jnp.sum(metrics.n_updates),
        ratio_min=jnp.min(metrics.ratio_min),
        ratio_max=jnp.max(metrics.ratio_max),
    )


def make_replaying(parts: Parts, config: ReplayConfig) -> Replaying:
    """The phase that draws past rollouts, each as large as one that comes in, and learns from them as from that one.

    Args:
        parts: those of the phase on real rows.
        config: how often, and how the rows are corrected.
    """

    def replaying(
        learner: Learner, descent: Descent, ring: Ring, clip_range: Array, key: Array
    ) -> tuple[Learner, DeepSPIMetrics]:
        def once(learner: Learner, key: Array) -> tuple[Learner, DeepSPIMetrics]:
            draw_key, learn_key = jax.random.split(key)
            sequences = draw(ring, draw_key, config.n_envs)
            data = corrected_rows(parts, learner.params, sequences, config.replay_correction)
            rows = Rows(data.rows, data.next_obs, config.n_envs)
            return learn(learner, parts, descent, rows, clip_range, learn_key)

        learner, metrics = jax.lax.scan(once, learner, jax.random.split(key, config.n_replays))
        return learner, _over_rounds(metrics)

    return replaying


def _on_latents(policy: ActorCritic) -> ActorCritic:
    """The policy of one who sees latents: they are observations, features and latents in one."""
    return policy._replace(features=lambda params, z: z, latent=lambda params, z: z)


def _encode(parts: Parts, params: Params, obs: Observation, n_rows: int) -> Float[Array, " N *z"]:
    """Latents of the first ``n_rows`` observations, a minibatch at a time to hold few feature maps."""
    chunks = jax.tree.map(lambda x: x[:n_rows].reshape(-1, parts.config.batch_size, *x.shape[1:]), obs)

    def encode(chunk: Observation) -> Array:
        return parts.policy.latent(params["policy"], parts.policy.features(params["policy"], chunk))

    z: Array = jax.lax.map(encode, chunks)
    return z.reshape(n_rows, *z.shape[2:])


def make_dreaming(parts: Parts, config: DreamSPIConfig) -> Dreaming:
    """The phase that imagines from every state of a rollout, and learns from that.

    Args:
        parts: those of the phase on real rows.
        config: sizes of the dreams.
    """
    on_latents = parts._replace(config=config.dream, policy=_on_latents(parts.policy), world_model=None)

    def dreaming(
        learner: Learner, descent: Descent, rows: Minibatch, clip_range: Array, key: Array
    ) -> tuple[Learner, DreamMetrics]:
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
            imagined = Rows(dream_rows(dream, config.dream), None, 0)
            learner, metrics = learn(learner, on_latents, descent, imagined, clip_range, learn_key)
            return learner, DreamMetrics(metrics, describe_dream(dream, config.real.gamma))

        keys = jax.random.split(key, config.n_imagination_rollouts)
        learner, metrics = jax.lax.scan(once, learner, keys)
        imagined = jax.tree.map(jnp.mean, metrics.imagined)
        return learner, DreamMetrics(_over_rounds(metrics.steps), imagined)

    return dreaming
