r"""Deep SPI, DeepMDP and PPO as one pure agent; the auxiliary term is a part, not a copy.

Deep SPI (arXiv:2510.12312) is PPO whose advantage becomes the utility
:math:`U = \hat A - \alpha_R \ell_R - \alpha_P \ell_P` inside the clipped surrogate. DeepMDP adds the same losses
beside the surrogate, PPO has none. Without a world model the three are the same program.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from spi_plugins.agents.deep_spi.acting import make_acting
from spi_plugins.agents.deep_spi.config import DeepSPIConfig
from spi_plugins.agents.deep_spi.loss import Parts, objective
from spi_plugins.agents.deep_spi.minibatches import flatten_rollout, shuffled, take_minibatch
from spi_plugins.agents.deep_spi.summary import StepStats, summarize
from spi_plugins.agents.on_policy import DeepSPIMetrics, DeepSPIState, OnPolicyAgent
from spi_plugins.distributions import action_distribution
from spi_plugins.networks.actor_critic import ActorCriticConfig, make_actor_critic
from spi_plugins.types import ActionSpec, ObservationSpec, Params, PyTree, Rollout
from spi_plugins.world_models.deep_mdp import DeepMDPConfig, make_deep_mdp


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
        indices = shuffled(shuffle_key, n_rows, config.n_epochs, config.batch_size)
        keys = jax.random.split(loss_key, config.n_epochs * n_minibatches)

        def gradient_step(
            params: Params, opt_state: PyTree, index: Array, key: Array
        ) -> tuple[Params, PyTree, StepStats]:
            batch = take_minibatch(rows, final_obs, index, n_envs, with_next=with_next)
            gradients, metrics = jax.grad(objective, has_aux=True)(params, parts, batch, clip_range, key)
            changes, opt_state = optimizer.update(gradients, opt_state, params)
            params = jax.tree.map(lambda p, change: p - learning_rate * change, params, changes)
            metrics = metrics._replace(grad_norm=optax.tree.norm(gradients))
            return params, opt_state, StepStats(metrics, jnp.sum(batch.valid).astype(jnp.float32))

        def minibatch(
            carry: tuple[Params, PyTree, Array], inputs: tuple[Array, Array]
        ) -> tuple[tuple[Params, PyTree, Array], StepStats]:
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
        metrics = summarize(stats, rows, n_minibatches)
        return DeepSPIState(params, opt_state, next_key), metrics

    return update


def make_deep_spi(
    observations: ObservationSpec,
    actions: ActionSpec,
    policy_config: ActorCriticConfig,
    config: DeepSPIConfig,
    world_model_config: DeepMDPConfig,
) -> OnPolicyAgent:
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
    parts = Parts(config, actions, policy, action_distribution(actions), model)
    optimizer = optax.chain(optax.clip_by_global_norm(config.max_grad_norm), optax.scale_by_adam(eps=1e-5))

    def init(key: Array) -> DeepSPIState:
        policy_key, model_key, run_key = jax.random.split(key, 3)
        params = {"policy": policy.init(policy_key)}
        if model is not None:
            params["world_model"] = model.init(model_key)
        return DeepSPIState(params, optimizer.init(params), run_key)

    acting = make_acting(parts)
    return OnPolicyAgent(
        init=init,
        act=acting.act,
        predict=acting.predict,
        value=acting.value,
        update=_make_update(parts, optimizer),
        policy=policy,
        world_model=model,
        has_std=actions.kind == "box",
    )
