"""The objective of one minibatch: where advantage, model losses, critic and entropy come together."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from spi_plugins.actions import model_action
from spi_plugins.agents.constraint import Constraint, cost_value_loss
from spi_plugins.agents.deep_spi.config import DeepSPIConfig
from spi_plugins.agents.deep_spi.minibatches import Minibatch
from spi_plugins.agents.on_policy import Parts, evaluate_features
from spi_plugins.constraints.method import Samples
from spi_plugins.distributions import entropy_or_estimate, masked
from spi_plugins.losses.deep_mdp import termination_cross_entropy
from spi_plugins.losses.deep_spi import auxiliary_loss, utility
from spi_plugins.losses.ppo import ClipRanges, approximate_kl, clipped_surrogate, drift_surrogate, value_loss
from spi_plugins.losses.ratios import ratio_diagnostics
from spi_plugins.networks.actor_critic import Evaluation
from spi_plugins.networks.fusion import materialized_gradient
from spi_plugins.returns import masked_mean
from spi_plugins.sharding import halves, joined
from spi_plugins.types import Params, PyTree
from spi_plugins.world_models.deep_mdp import ModelLosses


class Terms(NamedTuple):
    """What the networks say of a minibatch. Where a row is not valid, ratios are 1 and losses 0."""

    out: Evaluation
    z: Float[Array, " B *z"]
    log_ratio: Float[Array, " B"]
    entropy: Float[Array, " B"]
    losses: ModelLosses  # 0 without a world model, like the penalty
    penalty: Float[Array, ""]


def objective(
    params: Params,
    parts: Parts,
    batch: Minibatch,
    clip_range: ClipRanges,
    key: Array,
    method_state: PyTree = None,
) -> tuple[Array, dict[str, Array]]:
    """The loss of one minibatch, minimized, and the metrics that ``DeepSPIMetrics`` takes from it.

    ``method_state`` is that of the constraint's method, if there is one.
    """
    config, valid = parts.config, batch.valid
    terms = _evaluate(params, parts, batch, key)
    told = terms.losses.reward + terms.losses.termination
    if terms.losses.cost is not None:
        told = told + terms.losses.cost
    model_loss = auxiliary_loss(
        told,
        terms.losses.transition,
        reward_loss_coef=config.reward_loss_coef,
        transition_loss_coef=config.transition_loss_coef,
    )
    advantage, constraint, costs = batch.advantage, parts.constraint, None
    if constraint is not None:
        assert batch.cost_advantage is not None
        costs = Samples(jnp.exp(terms.log_ratio), batch.cost_advantage, valid, clip_range.ratio)
        advantage = constraint.method.advantage(method_state, advantage, costs.cost_advantage)
    surrogate = _surrogate(
        parts, batch, terms, utility(advantage, _subtracted(config, model_loss, batch)), clip_range.ratio
    )
    policy_loss = masked_mean(surrogate if batch.weight is None else batch.weight * surrogate, valid)
    critic_loss = masked_mean(value_loss(terms.out.value, batch.value, batch.target, clip_range.value), valid)
    entropy = masked_mean(terms.entropy, valid)
    loss = config.vf_coef * critic_loss
    if constraint is None or constraint.method.step is None:
        loss = policy_loss + loss - config.ent_coef * entropy
    if config.auxiliary == "additive":
        loss = loss + masked_mean(model_loss, valid)
    if parts.world_model is not None:
        loss = loss + parts.world_model.config.gradient_penalty_coef * terms.penalty
    losses = {"policy_gradient_loss": policy_loss, "value_loss": critic_loss}
    if constraint is not None and costs is not None:
        penalty, losses["cost_value_loss"] = _cost_losses(constraint, batch, terms, costs, method_state)
        losses["policy_gradient_loss"] = policy_loss + penalty
        loss = loss + penalty + constraint.config.cost_vf_coef * losses["cost_value_loss"]
    return loss, {
        "loss": loss,
        **losses,
        "entropy_loss": -entropy,
        **_metrics(params, parts, batch, terms, clip_range.ratio),
    }


def _cost_losses(
    constraint: Constraint, batch: Minibatch, terms: Terms, costs: Samples, method_state: PyTree
) -> tuple[Array, Array]:
    """What the method adds to the policy's loss, and the cost critic's loss."""
    assert terms.out.cost_value is not None
    assert batch.cost_target is not None
    penalty = constraint.method.penalty
    return (
        jnp.zeros(()) if penalty is None else penalty(method_state, costs),
        cost_value_loss(terms.out.cost_value, batch.cost_target, batch.valid),
    )


def _surrogate(
    parts: Parts, batch: Minibatch, terms: Terms, utility: Array, clip_range: Array
) -> Float[Array, " B"]:
    ratio = jnp.exp(terms.log_ratio)
    own = None if parts.constraint is None else parts.constraint.method.surrogate
    if own is not None:
        assert parts.distribution.kl is not None
        assert batch.old_parameters is not None
        return own(ratio, utility, parts.distribution.kl(terms.out.parameters, batch.old_parameters))
    if parts.config.drift_coef is None:
        return clipped_surrogate(ratio, utility, clip_range)
    return drift_surrogate(ratio, utility, clip_range, parts.config.drift_coef)


def _subtracted(config: DeepSPIConfig, model_loss: Array, batch: Minibatch) -> Float[Array, " B"]:
    """The model loss that the utility has: each sample's own, the minibatch mean, or none."""
    if config.auxiliary != "utility":
        return jnp.zeros_like(model_loss)
    if config.piecewise_auxiliary:
        return model_loss
    return jnp.broadcast_to(masked_mean(model_loss, batch.valid), model_loss.shape)


def _evaluate(params: Params, parts: Parts, batch: Minibatch, key: Array) -> Terms:
    inputs, next_z = batch.obs, None
    if parts.world_model is not None:
        # One pass of the encoder over both ends of every transition.
        inputs = joined(batch.obs, batch.next_obs)
    features = parts.policy.features(params["policy"], inputs)
    z = parts.policy.latent(params["policy"], features)
    if parts.world_model is not None:
        (features, _), (z, next_z) = halves(features), halves(z)
    out = evaluate_features(parts, params, batch.obs, features, z)
    out = out._replace(parameters=masked(out.parameters, batch.action_masks))
    log_prob = parts.distribution.log_prob(out.parameters, batch.action)
    log_ratio = jnp.where(batch.valid, log_prob - batch.log_prob, 0.0)
    entropy = entropy_or_estimate(parts.distribution, out.parameters, log_prob)
    return Terms(out, z, log_ratio, entropy, *_model_losses(parts, params, batch, z, next_z, key))


def _model_losses(
    parts: Parts, params: Params, batch: Minibatch, z: Array, next_z: Array | None, key: Array
) -> tuple[ModelLosses, Array]:
    """Each row's losses of the world model, and the gradient penalty; 0 without a model."""
    model = parts.world_model
    if model is None or next_z is None:
        zeros = jnp.zeros_like(batch.reward)
        return ModelLosses(zeros, zeros, zeros), jnp.zeros(())
    loss_key, penalty_key = jax.random.split(key)
    action = model_action(parts.actions, parts.distribution.executed(batch.action))
    losses = model.losses(
        *(params["world_model"], z, action, batch.reward, next_z, batch.terminated, loss_key),
        batch.cost,
    )
    if parts.config.termination_loss == "cross_entropy" and model.termination is not None:
        probability = model.termination(params["world_model"], next_z)
        ended = termination_cross_entropy(probability, batch.terminated.astype(jnp.float32))
        losses = losses._replace(termination=ended)
    penalty = model.penalty(params["world_model"], z, action, penalty_key)
    kept: ModelLosses = jax.tree.map(
        lambda loss: jnp.where(batch.valid, materialized_gradient(loss), 0.0), losses
    )
    return kept, penalty


def _metrics(
    params: Params, parts: Parts, batch: Minibatch, terms: Terms, clip_range: Array
) -> dict[str, Array]:
    """Diagnostics of a minibatch that are not part of its loss; ``n_valid`` is their weight in means."""
    ratio, valid = jnp.exp(terms.log_ratio), batch.valid
    ratios = ratio_diagnostics(ratio, valid, clip_range)
    metrics = {
        "approx_kl": masked_mean(approximate_kl(terms.log_ratio), valid),
        "clip_fraction": masked_mean((jnp.abs(ratio - 1.0) > clip_range).astype(jnp.float32), valid),
        "ratio_min": ratios.smallest,
        "ratio_max": ratios.largest,
        "ratio_outside": ratios.outside,
        "n_valid": jnp.sum(valid, dtype=jnp.float32),
    }
    if parts.actions.kind == "box":
        metrics["std"] = jnp.mean(jnp.exp(params["policy"]["actor"]["log_std"]))
    if parts.world_model is not None:
        norm = jnp.sqrt(jnp.sum(terms.z.reshape(len(terms.z), -1) ** 2, axis=-1))
        metrics["latent_norm"] = masked_mean(norm, valid)
        metrics["gradient_penalty"] = terms.penalty
        losses = terms.losses._asdict().items()
        metrics |= {f"{name}_loss": masked_mean(loss, valid) for name, loss in losses if loss is not None}
    return metrics
