r"""Deep SPI, DeepMDP and PPO as one pure agent; the auxiliary term is a part, not a copy.

Deep SPI (arXiv:2510.12312) is PPO whose advantage becomes the utility
:math:`U = \hat A - \alpha_R \ell_R - \alpha_P \ell_P` inside the clipped surrogate. DeepMDP adds the same losses
beside the surrogate, PPO has none. Without a world model the three are the same program.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from spi_plugins.agents.actions import executed_action
from spi_plugins.agents.interface import Act, Agent, DeepSPIConfig, DeepSPIMetrics, DeepSPIState
from spi_plugins.agents.minibatches import Minibatch, flatten_rollout, take_minibatch
from spi_plugins.agents.objective import Parts, objective
from spi_plugins.distributions import action_distribution
from spi_plugins.networks.actor_critic import Evaluation, PolicyConfig, make_actor_critic
from spi_plugins.returns import masked_mean
from spi_plugins.types import ActionSpec, Observation, ObservationSpec, Params, PyTree, Rollout
from spi_plugins.world_models.deep_mdp import DeepMDPConfig, make_deep_mdp


class _StepStats(NamedTuple):
    """Scalars of one gradient step."""

    metrics: DeepSPIMetrics
    n_valid: Float[Array, ""]


def _make_update(
    parts: Parts, optimizer: optax.GradientTransformation
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

        def gradient_step(
            params: Params, opt_state: PyTree, index: Array, key: Array
        ) -> tuple[Params, PyTree, _StepStats]:
            batch = take_minibatch(rows, final_obs, index, n_envs, with_next=with_next)
            gradients, metrics = jax.grad(objective, has_aux=True)(params, parts, batch, clip_range, key)
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
                lambda new, old: jnp.where(stopped, old, new),
                (new_params, new_opt_state),
                (params, opt_state),
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
    model = (
        make_deep_mdp(policy.latent_shape, actions, world_model_config) if config.uses_world_model else None
    )
    distribution = action_distribution(actions)
    parts = Parts(config, actions, policy, distribution, model)
    optimizer = optax.chain(optax.clip_by_global_norm(config.max_grad_norm), optax.scale_by_adam(eps=1e-5))

    def init(key: Array) -> DeepSPIState:
        policy_key, model_key, run_key = jax.random.split(key, 3)
        params = {"policy": policy.init(policy_key)}
        if model is not None:
            params["world_model"] = model.init(model_key)
        return DeepSPIState(params, optimizer.init(params), run_key)

    def forward(params: Params, obs: Observation) -> Evaluation:
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
