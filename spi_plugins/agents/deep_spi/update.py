r"""Deep SPI, DeepMDP and PPO as one pure agent; the auxiliary term is a part, not a copy.

Deep SPI (arXiv:2510.12312) is PPO whose advantage becomes the utility
:math:`U = \hat A - \alpha_R \ell_R - \alpha_P \ell_P` inside the clipped surrogate. DeepMDP adds the same losses
to the surrogate, PPO has none. Without a world model the three are the same program.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from spi_plugins.agents.constraint import Constraint, ConstraintState, init_constraint, observe
from spi_plugins.agents.deep_spi.config import DeepSPIConfig
from spi_plugins.agents.deep_spi.loss import objective
from spi_plugins.agents.deep_spi.metrics import DeepSPIMetrics, summarize
from spi_plugins.agents.deep_spi.minibatches import (
    FlatRollout,
    flatten_rollout,
    normalized_advantages,
    shuffled,
    take_minibatch,
)
from spi_plugins.agents.deep_spi.neighborhood import walk_back
from spi_plugins.agents.deep_spi.trust_region import check_separate, step_policy
from spi_plugins.agents.gradient_steps import Descent, TrainState, accept, choose, descend, move
from spi_plugins.agents.on_policy import OnPolicyAgent, Parts, evaluate, make_agent
from spi_plugins.agents.optimizer import make_optimizer
from spi_plugins.distributions import action_distribution, masked
from spi_plugins.losses.ppo import ClipRanges
from spi_plugins.networks.actor_critic import ActorCriticConfig, make_actor_critic
from spi_plugins.networks.cost_critic import make_cost_critic
from spi_plugins.sharding import divided, whole
from spi_plugins.types import ActionSpec, ObservationSpec, Params, PyTree, Rollout
from spi_plugins.world_models.deep_mdp import make_deep_mdp
from spi_plugins.world_models.deep_mdp_networks import DeepMDPConfig


class DeepSPIState(NamedTuple):
    """All that an update changes and a resume needs."""

    params: Params  # {"policy": ..., "world_model": ...}
    opt_state: PyTree
    key: Array
    previous: Params | None = (
        None  # the policy's parameters before the last update, with the strict neighborhood
    )
    constraint: ConstraintState | None = None


def learn(
    state: TrainState,
    descent: Descent,
    parts: Parts,
    data: FlatRollout,
    clip_range: ClipRanges,
    keys: Array,
    method_state: PyTree = None,
) -> tuple[TrainState, DeepSPIMetrics]:
    """Train on all minibatches of all epochs; the two keys are of the rows' order and of the losses."""
    config, n_rows = parts.config, data.rows.reward.shape[0]
    if parts.constraint is not None and parts.constraint.method.surrogate is not None:
        data = data._replace(rows=data.rows._replace(old_parameters=_parameters(parts, state.params, data)))
    batch_size = min(config.batch_size, n_rows)
    # Minibatches cross the boundaries between devices: each gathers the rollout once, and then takes its rows of each.
    data = data._replace(rows=whole(data.rows), final_obs=whole(data.final_obs))
    indices = shuffled(keys[0], n_rows, config.n_epochs, batch_size)
    advantages = normalized_advantages(data, indices) if config.normalize_advantage else {}
    indices, advantages = divided((indices, advantages), axis=1)

    def loss(params: Params, entry: tuple[Array, dict[str, Array], Array]) -> tuple[Array, dict[str, Array]]:
        index, advantages, key = entry
        batch = take_minibatch(data, index, with_next=parts.world_model is not None)
        batch = divided(batch._replace(**advantages))
        return objective(params, parts, batch, clip_range, key, method_state)

    entries = (indices, advantages, jax.random.split(keys[1], len(indices)))
    state, steps = descend(state, descent, loss, entries, config.target_kl)
    return state, summarize(steps, data.rows, math.ceil(n_rows / batch_size))


def _parameters(parts: Parts, params: Params, data: FlatRollout) -> Array:
    """Those of the action distributions of all rows."""
    obs = jax.tree.map(lambda x: x[: data.rows.reward.shape[0]], data.rows.obs)
    return masked(evaluate(parts, params, obs).parameters, data.rows.action_masks)


def _make_update(
    parts: Parts, optimizer: optax.GradientTransformation
) -> Callable[..., tuple[DeepSPIState, DeepSPIMetrics]]:
    def update(
        state: DeepSPIState,
        rollout: Rollout,
        learning_rate: Array,
        clip_range: ClipRanges,
        learnable: Array | None = None,
    ) -> tuple[DeepSPIState, DeepSPIMetrics]:
        """All epochs and minibatches on one rollout."""

        def step(state: TrainState, gradients: Params) -> TrainState:
            changes, opt_state = optimizer.update(gradients, state.opt_state, state.params)
            return TrainState(move(state.params, changes, learning_rate), opt_state)

        keys = jax.random.split(state.key, 3)
        constraint, method_state, costs = parts.constraint, None, None
        watched = state.constraint
        if constraint is not None and watched is not None:
            watched = observe(constraint, watched, rollout)
            method_state, costs = watched.method, constraint.config
        data = flatten_rollout(rollout, parts.config.gamma, parts.config.gae_lambda, costs)
        start = TrainState(state.params, state.opt_state)
        begin = start
        if constraint is not None and constraint.method.step is not None:
            begin = start._replace(params=step_policy(parts, start.params, data.rows, method_state))
        end, metrics = learn(begin, Descent(step), parts, data, clip_range, keys[1:], method_state)
        previous = None
        if parts.config.neighborhood == "strict":
            params, walk = walk_back(
                parts, state.previous, start.params, end.params, data.rows, clip_range.ratio
            )
            end, metrics = end._replace(params=params), metrics._replace(**walk._asdict())
            previous = start.params["policy"]
        end, loss = accept(end, start, metrics.loss, learnable)
        if constraint is not None:
            watched = choose(jnp.isfinite(loss), watched, state.constraint)
            metrics = metrics._replace(multipliers=_multipliers(constraint, method_state))
        state = DeepSPIState(end.params, end.opt_state, keys[0], previous, watched)
        return state, metrics._replace(loss=loss)

    return update


def _multipliers(constraint: Constraint, method_state: PyTree) -> tuple[Array, ...] | None:
    if constraint.method.multipliers is None:
        return None
    prices = constraint.method.multipliers(method_state)
    return tuple(prices[i] for i in range(len(constraint.limits)))


def make_deep_spi(
    observations: ObservationSpec,
    actions: ActionSpec,
    policy_config: ActorCriticConfig,
    config: DeepSPIConfig,
    world_model_config: DeepMDPConfig,
    constraint: Constraint | None = None,
) -> OnPolicyAgent:
    """Bind networks, world model and losses into an agent.

    Without ``config.uses_world_model`` it has no model, and without a constraint no critic of costs.

    Raises:
        ValueError: the strict neighborhood is asked for with continuous actions, or a constraint that makes the
            policy's step itself with networks that the policy shares.
    """
    if config.neighborhood == "strict" and actions.kind == "box":
        raise ValueError(
            "neighborhood='strict' needs discrete actions, but these are a Box: the ratio of two Gaussians is "
            "unbounded or goes down to 0, so no neighborhood [2 - C, C] holds a second one. Use neighborhood='clip'."
        )
    policy = make_actor_critic(observations, actions, policy_config)
    model = (
        make_deep_mdp(policy.latent_shape, actions, world_model_config) if config.uses_world_model else None
    )
    if constraint is not None and constraint.method.step is not None:
        check_separate(policy_config, has_model=model is not None)
    distribution = action_distribution(actions, squash=policy_config.squash_output)
    critic = None
    if constraint is not None:
        critic = make_cost_critic(observations, policy_config, policy.latent_shape, len(constraint.limits))
    parts = Parts(config, actions, policy, distribution, model, constraint, critic)
    optimizer = make_optimizer(config.max_grad_norm, config.optimizer)
    if critic is not None:  # costs may be much larger than rewards, and must not eat up the bound on the norm
        own = {"cost_critic": optimizer, "rest": optimizer}
        optimizer = optax.partition(
            own, lambda params: {name: name if name in own else "rest" for name in params}
        )

    def init(key: Array) -> DeepSPIState:
        policy_key, model_key, run_key = jax.random.split(key, 3)
        params = {"policy": policy.init(policy_key)}
        if model is not None:
            params["world_model"] = model.init(model_key)
        if critic is not None:
            params["cost_critic"] = critic.init(jax.random.fold_in(key, 3))
        strict = config.neighborhood == "strict"
        previous = jax.tree.map(jnp.copy, params["policy"]) if strict else None
        watched = None if constraint is None else init_constraint(constraint)
        return DeepSPIState(params, optimizer.init(params), run_key, previous, watched)

    return make_agent(parts, init, _make_update(parts, optimizer))
