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

from spi_plugins.agents.deep_spi.config import DeepSPIConfig
from spi_plugins.agents.deep_spi.loss import objective
from spi_plugins.agents.deep_spi.metrics import DeepSPIMetrics, summarize
from spi_plugins.agents.deep_spi.minibatches import FlatRollout, flatten_rollout, shuffled, take_minibatch
from spi_plugins.agents.deep_spi.neighborhood import walk_back
from spi_plugins.agents.gradient_steps import Descent, TrainState, accept, descend, move
from spi_plugins.agents.on_policy import OnPolicyAgent, Parts, make_agent
from spi_plugins.agents.optimizer import make_optimizer
from spi_plugins.distributions import action_distribution
from spi_plugins.losses.ppo import ClipRanges
from spi_plugins.networks.actor_critic import ActorCriticConfig, make_actor_critic
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


def learn(
    state: TrainState, descent: Descent, parts: Parts, data: FlatRollout, clip_range: ClipRanges, keys: Array
) -> tuple[TrainState, DeepSPIMetrics]:
    """Train on all minibatches of all epochs; the two keys are of the rows' order and of the losses."""
    config, n_rows = parts.config, data.rows.reward.shape[0]
    batch_size = min(config.batch_size, n_rows)
    indices = shuffled(keys[0], n_rows, config.n_epochs, batch_size)

    def loss(params: Params, entry: tuple[Array, Array]) -> tuple[Array, dict[str, Array]]:
        batch = take_minibatch(data, entry[0], with_next=parts.world_model is not None)
        return objective(params, parts, batch, clip_range, entry[1])

    entries = (indices, jax.random.split(keys[1], len(indices)))
    state, steps = descend(state, descent, loss, entries, config.target_kl)
    return state, summarize(steps, data.rows, math.ceil(n_rows / batch_size))


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
        data = flatten_rollout(rollout, parts.config.gamma, parts.config.gae_lambda)
        start = TrainState(state.params, state.opt_state)
        end, metrics = learn(start, Descent(step), parts, data, clip_range, keys[1:])
        previous = None
        if parts.config.neighborhood == "strict":
            params, walk = walk_back(
                parts, state.previous, start.params, end.params, data.rows, clip_range.ratio
            )
            end, metrics = end._replace(params=params), metrics._replace(**walk._asdict())
            previous = start.params["policy"]
        end, loss = accept(end, start, metrics.loss, learnable)
        return DeepSPIState(end.params, end.opt_state, keys[0], previous), metrics._replace(loss=loss)

    return update


def make_deep_spi(
    observations: ObservationSpec,
    actions: ActionSpec,
    policy_config: ActorCriticConfig,
    config: DeepSPIConfig,
    world_model_config: DeepMDPConfig,
) -> OnPolicyAgent:
    """Bind networks, world model and losses into an agent; without ``config.uses_world_model`` it has no model.

    Raises:
        ValueError: the strict neighborhood is asked for with continuous actions.
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
    distribution = action_distribution(actions, squash=policy_config.squash_output)
    parts = Parts(config, actions, policy, distribution, model)
    optimizer = make_optimizer(config.max_grad_norm, config.optimizer)

    def init(key: Array) -> DeepSPIState:
        policy_key, model_key, run_key = jax.random.split(key, 3)
        params = {"policy": policy.init(policy_key)}
        if model is not None:
            params["world_model"] = model.init(model_key)
        strict = config.neighborhood == "strict"
        previous = jax.tree.map(jnp.copy, params["policy"]) if strict else None
        return DeepSPIState(params, optimizer.init(params), run_key, previous)

    return make_agent(parts, init, _make_update(parts, optimizer))
