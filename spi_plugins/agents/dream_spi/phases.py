"""The phases of DreamSPI's update: learn from real rows, from replayed ones, and from dreams."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from spi_plugins.agents.deep_spi.metrics import DeepSPIMetrics
from spi_plugins.agents.deep_spi.minibatches import FlatRollout
from spi_plugins.agents.deep_spi.update import learn
from spi_plugins.agents.dream_spi.config import DreamSPIConfig, ReplayConfig
from spi_plugins.agents.dream_spi.imagination import Imagined, describe_dream, dream_rows, imagine
from spi_plugins.agents.dream_spi.replay import Ring, corrected_rows, draw
from spi_plugins.agents.dream_spi.slices import Training, train_slices
from spi_plugins.agents.gradient_steps import TrainState
from spi_plugins.agents.on_policy import Parts
from spi_plugins.losses.ppo import ClipRanges
from spi_plugins.sharding import divided
from spi_plugins.types import Observation, Params


def learn_slices(
    state: TrainState, training: Training, parts: Parts, data: FlatRollout, clip_range: ClipRanges, key: Array
) -> tuple[TrainState, DeepSPIMetrics]:
    """``deep_spi.update.learn`` for some of the slices; ``state`` is that of all."""
    keys = jax.random.split(key)
    return train_slices(
        state, training, lambda part, descent: learn(part, descent, parts, data, clip_range, keys)
    )


def _over_rounds(metrics: DeepSPIMetrics) -> DeepSPIMetrics:
    """Fold the metrics of several rounds, with a leading axis, into one."""
    means: DeepSPIMetrics = jax.tree.map(jnp.mean, metrics)
    return means._replace(
        n_updates=jnp.sum(metrics.n_updates),
        ratio_min=jnp.min(metrics.ratio_min),
        ratio_max=jnp.max(metrics.ratio_max),
    )


def replay(
    parts: Parts,
    config: ReplayConfig,
    state: TrainState,
    training: Training,
    ring: Ring,
    clip_range: ClipRanges,
    key: Array,
) -> tuple[TrainState, DeepSPIMetrics]:
    """Draw past rollouts, each as large as the new one, and learn from them in the same way."""

    def once(state: TrainState, key: Array) -> tuple[TrainState, DeepSPIMetrics]:
        draw_key, learn_key = jax.random.split(key)
        sequences = draw(ring, draw_key, config.n_envs)
        data = corrected_rows(parts, state.params, sequences, config.replay_correction)
        return learn_slices(state, training, parts, data, clip_range, learn_key)

    state, metrics = jax.lax.scan(once, state, jax.random.split(key, config.n_replays))
    return state, _over_rounds(metrics)


def _encode(parts: Parts, params: Params, obs: Observation, n_rows: int) -> Float[Array, " N *z"]:
    """Encode the first ``n_rows`` observations, a minibatch at a time to hold few feature maps."""
    size = min(parts.config.batch_size, n_rows)

    def cut(x: Array) -> Array:
        rows = x[:n_rows]
        if n_rows % size:
            rows = jnp.concatenate([rows, rows[: -n_rows % size]])
        return rows.reshape(-1, size, *x.shape[1:])

    def encode(chunk: Observation) -> Array:
        return parts.policy.latent(params["policy"], parts.policy.features(params["policy"], chunk))

    z: Array = jax.lax.map(encode, divided(jax.tree.map(cut, obs), axis=1))
    return z.reshape(-1, *z.shape[2:])[:n_rows]


def dream(
    parts: Parts,
    config: DreamSPIConfig,
    state: TrainState,
    training: Training,
    data: FlatRollout,
    clip_range: ClipRanges,
    key: Array,
) -> tuple[TrainState, tuple[DeepSPIMetrics, Imagined]]:
    """Imagine from every state of a rollout, and learn from that."""
    # The rows' latents are observations, features and latents in one.
    policy = parts.policy._replace(features=lambda params, z: z, latent=lambda params, z: z)
    on_latents = parts._replace(config=config.dream, policy=policy, world_model=None)
    valid = data.rows.valid  # the observation of a reset row is not a state to dream from
    z, valid = divided((_encode(parts, state.params, data.rows.obs, len(valid)), valid))

    def once(state: TrainState, key: Array) -> tuple[TrainState, tuple[DeepSPIMetrics, Imagined]]:
        dream_key, learn_key = jax.random.split(key)
        imagined = imagine(
            parts,
            state.params,
            z,
            valid,
            dream_key,
            horizon=config.imagination_horizon,
            soft_termination=config.soft_termination,
        )
        rows = FlatRollout(dream_rows(imagined, config.dream), None, 0)
        state, metrics = learn_slices(state, training, on_latents, rows, clip_range, learn_key)
        return state, (metrics, describe_dream(imagined, config.real.gamma))

    keys = jax.random.split(key, config.n_imagination_rollouts)
    state, (metrics, imagined) = jax.lax.scan(once, state, keys)
    return state, (_over_rounds(metrics), jax.tree.map(jnp.mean, imagined))
