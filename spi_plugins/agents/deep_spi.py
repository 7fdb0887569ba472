r"""Deep SPI, DeepMDP and PPO as one pure agent; the auxiliary term is a part, not a copy.

Deep SPI (arXiv:2510.12312) is PPO whose advantage becomes the utility
:math:`U = \hat A - \alpha_R \ell_R - \alpha_P \ell_P` inside the clipped surrogate. DeepMDP adds the same losses
beside the surrogate, PPO has none. Without a world model the three are the same program.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from spi_plugins.agents.minibatches import Minibatch, flatten_rollout, take_minibatch
from spi_plugins.certificates import ratio_diagnostics
from spi_plugins.distributions import ActionDistribution, action_distribution
from spi_plugins.losses.deep_spi import Auxiliary, auxiliary_loss, utility
from spi_plugins.losses.ppo import approximate_kl, clipped_surrogate, drift_surrogate, value_loss
from spi_plugins.networks.actor_critic import ActorCritic, PolicyConfig, make_actor_critic
from spi_plugins.returns import masked_mean, normalize
from spi_plugins.types import ActionSpec, Observation, ObservationSpec, Params, PyTree, Rollout
from spi_plugins.world_models.deep_mdp import DeepMDP, DeepMDPConfig, ModelLosses, make_deep_mdp


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

    @property
    def uses_world_model(self) -> bool:
        """False if no model loss can matter: then none is built, and the agent is PPO bit for bit."""
        return self.auxiliary != "none" and (self.reward_loss_coef > 0 or self.transition_loss_coef > 0)


class DeepSPIState(NamedTuple):
    """All that an update changes and a resume needs."""

    params: Params  # {"policy": ..., "world_model": ...}
    opt_state: PyTree
    key: Array


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
    """

    init: Callable[[Array], DeepSPIState]
    act: Callable[[Params, Observation, Array], Act]
    predict: Callable[..., Array]
    value: Callable[[Params, Observation], Array]
    update: Callable[[DeepSPIState, Rollout, Array, Array], tuple[DeepSPIState, DeepSPIMetrics]]
    policy: ActorCritic
    world_model: DeepMDP | None
    has_std: bool


def executed_action(spec: ActionSpec, action: Array) -> Array:
    """What the environment gets: a Box action clipped to its bounds, any other as it is."""
    if spec.kind != "box":
        return action
    low, high = (jnp.asarray(bound, jnp.float32).reshape(1, *spec.shape) for bound in (spec.low, spec.high))
    return jnp.clip(action, low, high)


def model_action(spec: ActionSpec, action: Array) -> Array:
    """What a world model reads: a Box action as executed and scaled to [-1, 1], any other as it is."""
    if spec.kind != "box":
        return action
    low, high = (jnp.asarray(bound, jnp.float32).reshape(1, *spec.shape) for bound in (spec.low, spec.high))
    return 2.0 * (executed_action(spec, action) - low) / (high - low) - 1.0


class _Parts(NamedTuple):
    """What the loss is made of."""

    config: DeepSPIConfig
    actions: ActionSpec
    policy: ActorCritic
    distribution: ActionDistribution
    world_model: DeepMDP | None


class _StepStats(NamedTuple):
    """Scalars of one gradient step."""

    metrics: DeepSPIMetrics
    n_valid: Float[Array, ""]


def _model_losses(parts: _Parts, params: Params, batch: Minibatch, z: Array, key: Array) -> tuple[ModelLosses, Array]:
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
    penalty = model.penalty(params["world_model"], z[:n], action, penalty_key)
    return ModelLosses(*(jnp.where(batch.valid, loss, 0.0) for loss in losses)), penalty


def _loss(
    params: Params, parts: _Parts, batch: Minibatch, clip_range: Array, key: Array
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
    log_ratio = jnp.where(batch.valid, parts.distribution.log_prob(out.parameters, batch.action) - batch.log_prob, 0.0)
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
        policy_loss = mean(clipped_surrogate(ratio, gain, clip_range))
    else:
        policy_loss = mean(drift_surrogate(ratio, gain, clip_range, config.drift_coef))
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


def _make_update(
    parts: _Parts, optimizer: optax.GradientTransformation
) -> Callable[[DeepSPIState, Rollout, Array, Array], tuple[DeepSPIState, DeepSPIMetrics]]:
    config = parts.config
    with_next = parts.world_model is not None

    def update(
        state: DeepSPIState, rollout: Rollout, learning_rate: Array, clip_range: Array
    ) -> tuple[DeepSPIState, DeepSPIMetrics]:
        """All epochs and minibatches on one rollout."""
        n_steps, n_envs = rollout.reward.shape
        rows, final_obs = flatten_rollout(rollout, config.gamma, config.gae_lambda)
        n_rows = n_steps * n_envs
        n_minibatches = n_rows // config.batch_size
        next_key, shuffle_key, loss_key = jax.random.split(state.key, 3)
        orders = jax.vmap(lambda key: jax.random.permutation(key, n_rows))(
            jax.random.split(shuffle_key, config.n_epochs)
        )
        indices = orders.reshape(config.n_epochs * n_minibatches, config.batch_size)
        keys = jax.random.split(loss_key, config.n_epochs * n_minibatches)

        def gradient_step(params: Params, opt_state: PyTree, index: Array, key: Array) -> tuple[Params, PyTree, _StepStats]:
            batch = take_minibatch(rows, final_obs, index, n_envs, with_next=with_next)
            gradients, metrics = jax.grad(_loss, has_aux=True)(params, parts, batch, clip_range, key)
            changes, opt_state = optimizer.update(gradients, opt_state, params)
            params = jax.tree.map(lambda p, change: p - learning_rate * change, params, changes)
            metrics = metrics._replace(grad_norm=optax.tree.norm(gradients))
            return params, opt_state, _StepStats(metrics, jnp.sum(batch.valid).astype(jnp.float32))

        def minibatch(
            carry: tuple[Params, PyTree, Array], inputs: tuple[Array, Array]
        ) -> tuple[tuple[Params, PyTree, Array], _StepStats]:
            params, opt_state, stopped = carry
            new_params, new_opt_state, stats = gradient_step(params, opt_state, *inputs)
            if config.target_kl is None:
                return (new_params, new_opt_state, stopped), stats
            # As in SB3, the step whose KL is too large is not taken, nor any after it.
            stopped = stopped | (stats.metrics.approx_kl > 1.5 * config.target_kl)
            kept = jax.tree.map(
                lambda new, old: jnp.where(stopped, old, new), (new_params, new_opt_state), (params, opt_state)
            )
            taken = 1.0 - stopped.astype(jnp.float32)
            return (*kept, stopped), stats._replace(metrics=stats.metrics._replace(n_updates=taken))

        (params, opt_state, _), stats = jax.lax.scan(
            minibatch, (state.params, state.opt_state, jnp.zeros((), bool)), (indices, keys)
        )
        metrics = _summarize(stats, rows, n_minibatches)
        return DeepSPIState(params, opt_state, next_key), metrics

    return update


def _summarize(stats: _StepStats, rows: Minibatch, n_minibatches: int) -> DeepSPIMetrics:
    """Fold the scalars of all gradient steps into those of the update."""
    last = jax.tree.map(lambda x: x[-n_minibatches:], stats)
    means = DeepSPIMetrics(*(jnp.mean(values) for values in stats.metrics))
    weights = last.n_valid / jnp.maximum(jnp.sum(last.n_valid), 1.0)
    error = rows.target - rows.value

    def variance(x: Array) -> Array:
        return masked_mean((x - masked_mean(x, rows.valid)) ** 2, rows.valid)

    spread = variance(rows.target)
    return means._replace(
        ratio_min=jnp.min(last.metrics.ratio_min),
        ratio_max=jnp.max(last.metrics.ratio_max),
        ratio_outside=jnp.sum(weights * last.metrics.ratio_outside),
        explained_variance=jnp.where(spread > 0, 1.0 - variance(error) / jnp.maximum(spread, 1e-12), jnp.nan),
        n_updates=jnp.sum(stats.metrics.n_updates),
    )


def make_deep_spi(
    observations: ObservationSpec,
    actions: ActionSpec,
    policy_config: PolicyConfig,
    config: DeepSPIConfig,
    world_model_config: DeepMDPConfig,
) -> Agent:
    """Bind networks, world model and losses into an agent.

    Args:
        observations: what the environment shows.
        actions: what it takes.
        policy_config: sizes of actor, critic and encoder.
        config: the objective and its optimization.
        world_model_config: the latent model; unused if ``config.uses_world_model`` is false.
    """
    policy = make_actor_critic(observations, actions, policy_config)
    model = make_deep_mdp(policy.latent_shape, actions, world_model_config) if config.uses_world_model else None
    distribution = action_distribution(actions)
    parts = _Parts(config, actions, policy, distribution, model)
    optimizer = optax.chain(optax.clip_by_global_norm(config.max_grad_norm), optax.scale_by_adam(eps=1e-5))

    def init(key: Array) -> DeepSPIState:
        policy_key, model_key, run_key = jax.random.split(key, 3)
        params = {"policy": policy.init(policy_key)}
        if model is not None:
            params["world_model"] = model.init(model_key)
        return DeepSPIState(params, optimizer.init(params), run_key)

    def forward(params: Params, obs: Observation) -> tuple[Array, Array]:
        features = policy.features(params["policy"], obs)
        z = policy.latent(params["policy"], features)
        return policy.evaluate(params["policy"], obs, features, z)

    def act(params: Params, obs: Observation, key: Array) -> Act:
        out = forward(params, obs)
        action = distribution.sample(out.parameters, key)
        return Act(
            action=action,
            env_action=executed_action(actions, action),
            log_prob=distribution.log_prob(out.parameters, action),
            value=out.value,
        )

    def predict(params: Params, obs: Observation, key: Array, *, deterministic: bool) -> Array:
        parameters = forward(params, obs).parameters
        action = distribution.mode(parameters) if deterministic else distribution.sample(parameters, key)
        return executed_action(actions, action)

    return Agent(
        init=init,
        act=act,
        predict=predict,
        value=lambda params, obs: policy.value(params["policy"], obs),
        update=_make_update(parts, optimizer),
        policy=policy,
        world_model=model,
        has_std=actions.kind == "box",
    )
