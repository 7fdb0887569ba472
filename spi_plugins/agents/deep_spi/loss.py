"""The objective of one minibatch: where advantage, model losses, critic and entropy come together."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from spi_plugins.actions import model_action
from spi_plugins.agents.deep_spi.config import DeepSPIConfig
from spi_plugins.agents.deep_spi.minibatches import Minibatch
from spi_plugins.agents.on_policy import DeepSPIMetrics
from spi_plugins.distributions import ActionDistribution
from spi_plugins.losses.deep_mdp import termination_cross_entropy
from spi_plugins.losses.deep_spi import auxiliary_loss, utility
from spi_plugins.losses.ppo import approximate_kl, clipped_surrogate, drift_surrogate, value_loss
from spi_plugins.losses.ratios import ratio_diagnostics
from spi_plugins.networks.actor_critic import ActorCritic
from spi_plugins.returns import masked_mean, normalize
from spi_plugins.types import ActionSpec, Params
from spi_plugins.world_models.deep_mdp import DeepMDP, ModelLosses


class Parts(NamedTuple):
    """What the loss is made of."""

    config: DeepSPIConfig
    actions: ActionSpec
    policy: ActorCritic
    distribution: ActionDistribution
    world_model: DeepMDP | None


def _model_losses(
    parts: Parts, params: Params, batch: Minibatch, z: Array, key: Array
) -> tuple[ModelLosses, Array]:
    """Per-sample losses of the world model on a minibatch, and the gradient penalty; zero without a model."""
    model = parts.world_model
    n = batch.reward.shape[0]
    if model is None:
        zeros = jnp.zeros((n,))
        return ModelLosses(zeros, zeros, zeros), jnp.zeros(())
    loss_key, penalty_key = jax.random.split(key)
    action = model_action(parts.actions, batch.action)
    losses = model.losses(
        params["world_model"], z[:n], action, batch.reward, z[n:], batch.terminated, loss_key
    )
    if parts.config.termination_loss == "cross_entropy" and model.termination is not None:
        probability = model.termination(params["world_model"], z[n:])
        ended = termination_cross_entropy(probability, batch.terminated.astype(jnp.float32))
        losses = losses._replace(termination=ended)
    penalty = model.penalty(params["world_model"], z[:n], action, penalty_key)
    return ModelLosses(*(jnp.where(batch.valid, loss, 0.0) for loss in losses)), penalty


def objective(
    params: Params, parts: Parts, batch: Minibatch, clip_range: Array, key: Array
) -> tuple[Array, DeepSPIMetrics]:
    """The objective of one minibatch, minimized."""
    config = parts.config
    n = batch.reward.shape[0]
    inputs = batch.obs
    if parts.world_model is not None:
        # One pass of the encoder over both ends of every transition.
        inputs = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), batch.obs, batch.next_obs)
    features = parts.policy.features(params["policy"], inputs)
    z = parts.policy.latent(params["policy"], features)
    out = parts.policy.evaluate(params["policy"], batch.obs, features[:n], z[:n])
    log_ratio = jnp.where(
        batch.valid, parts.distribution.log_prob(out.parameters, batch.action) - batch.log_prob, 0.0
    )
    ratio = jnp.exp(log_ratio)

    def mean(x: Array) -> Array:
        return masked_mean(x, batch.valid)

    model_losses, penalty = _model_losses(parts, params, batch, z, key)
    auxiliary = auxiliary_loss(
        model_losses.reward + model_losses.termination,
        model_losses.transition,
        reward_loss_coef=config.reward_loss_coef,
        transition_loss_coef=config.transition_loss_coef,
    )
    advantage = normalize(batch.advantage, batch.valid) if config.normalize_advantage else batch.advantage
    inside = jnp.zeros_like(auxiliary)
    if config.auxiliary == "utility":
        inside = auxiliary if config.piecewise_auxiliary else jnp.full_like(auxiliary, 1.0) * mean(auxiliary)
    gain = utility(advantage, inside)
    if config.drift_coef is None:
        surrogate = clipped_surrogate(ratio, gain, clip_range)
    else:
        surrogate = drift_surrogate(ratio, gain, clip_range, config.drift_coef)
    policy_loss = mean(surrogate if batch.weight is None else batch.weight * surrogate)
    critic_loss = mean(value_loss(out.value, batch.value, batch.target, config.clip_range_vf))
    entropy = mean(parts.distribution.entropy(out.parameters))
    loss = policy_loss + config.vf_coef * critic_loss - config.ent_coef * entropy
    if config.auxiliary == "additive":
        loss = loss + mean(auxiliary)
    if parts.world_model is not None:
        loss = loss + parts.world_model.config.gradient_penalty_coef * penalty
    ratios = ratio_diagnostics(ratio, batch.valid, clip_range)
    log_std = out.parameters[0, out.parameters.shape[1] // 2 :]
    zero = jnp.zeros(())
    return loss, DeepSPIMetrics(
        loss=loss,
        policy_gradient_loss=policy_loss,
        value_loss=critic_loss,
        entropy_loss=-entropy,
        approx_kl=mean(approximate_kl(log_ratio)),
        clip_fraction=mean((jnp.abs(ratio - 1.0) > clip_range).astype(jnp.float32)),
        reward_loss=mean(model_losses.reward),
        transition_loss=mean(model_losses.transition),
        termination_loss=mean(model_losses.termination),
        gradient_penalty=penalty,
        grad_norm=zero,
        latent_norm=mean(jnp.sqrt(jnp.sum(z[:n].reshape(n, -1) ** 2, axis=-1))),
        ratio_min=ratios.smallest,
        ratio_max=ratios.largest,
        ratio_outside=ratios.outside,
        explained_variance=zero,
        std=jnp.mean(jnp.exp(log_std)) if parts.actions.kind == "box" else zero,
        n_updates=jnp.ones(()),
    )
