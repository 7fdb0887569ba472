"""SPOWL as a pure agent: world-model loss, policy loss with an augmented Lagrangian, slow critics, a planner.

"Safe Planning and Policy Optimization via World Model Learning" (arXiv:2506.04828) and its code. Without costs it is
TD-MPC2 (arXiv:2310.16828). ``docs/spowl.md`` numbers the deviations from the published code.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from spi_plugins.agents.compact import compact
from spi_plugins.agents.gradient_steps import move, replayed_update
from spi_plugins.agents.optimizer import OptimizerConfig, make_optimizer
from spi_plugins.agents.planning import PlanningAgent, SPOWLMetrics, SPOWLState
from spi_plugins.agents.spowl.config import SPOWLConfig
from spi_plugins.agents.spowl.layout import Layout, Optimizers, grouped
from spi_plugins.agents.spowl.loss import SPOWLParts, policy_objective, targets_of, world_model_objective
from spi_plugins.buffers import Buffer, Windows
from spi_plugins.losses.lagrangian import Multipliers, raise_multipliers
from spi_plugins.networks.pixels import has_images, shift_images
from spi_plugins.planners.batch import batch_planner, init_plans
from spi_plugins.planners.planner import Planner, check_parts
from spi_plugins.returns import masked_mean
from spi_plugins.types import ActionSpec, ObservationSpec, PyTree
from spi_plugins.world_models.tdmpc import make_tdmpc


def _prepared(parts: SPOWLParts, windows: Windows, key: Array) -> Windows:
    """With the vectors of actions, and images shifted at random; each observation is shifted by itself."""
    config, world = parts
    action, obs = world.head.vector(world.head.restored(windows.action)), windows.obs
    if config.image_shift and has_images(world.observations):
        rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), obs)
        # A stream of its own: without images, nothing else is drawn than before.
        shifted = shift_images(world.observations, rows, config.image_shift, jax.random.fold_in(key, 3))
        obs = jax.tree.map(lambda x, like: x.reshape(like.shape), shifted, obs)
    return windows._replace(action=action, obs=obs)


def _make_step(
    parts: SPOWLParts, layout: Layout, optimizers: Optimizers
) -> Callable[..., tuple[SPOWLState, SPOWLMetrics]]:
    """The gradient step on a state of long arrays."""
    config, world = parts

    def step(
        state: SPOWLState, windows: Windows, learning_rate: Array, key: Array
    ) -> tuple[SPOWLState, SPOWLMetrics]:
        """One gradient step on the model, then one on the policy, then the slow critics and the multipliers."""
        target_key, model_key, policy_key = jax.random.split(key, 3)
        windows = _prepared(parts, windows, key)
        groups, joined_policy = state.params
        model, policy = layout.merged(groups), layout.policy(joined_policy)
        slow = layout.critics(state.targets)
        targets = targets_of(parts, {**model, "policy": policy}, slow, windows, target_key)

        (model_loss, (losses, z)), gradients = jax.value_and_grad(world_model_objective, has_aux=True)(
            model, parts, windows, targets, model_key
        )
        gradient = grouped(gradients)
        changes, model_opt = optimizers.model.update(gradient, state.opt_state[0])
        rates = {"encoder": learning_rate * config.encoder_lr_scale, "others": learning_rate}
        groups = {name: move(groups[name], changes[name], rates[name]) for name in groups}
        model = layout.merged(groups)

        latents = jax.lax.stop_gradient(z)
        (_, metrics), policy_gradients = jax.value_and_grad(policy_objective, has_aux=True)(
            policy, parts, model, state, latents, windows.done, policy_key
        )
        policy_gradient = compact(policy_gradients)
        changes, policy_opt = optimizers.policy.update(policy_gradient, state.opt_state[1])
        joined_policy = move(joined_policy, changes, learning_rate)

        multipliers = state.multipliers
        if config.uses_lagrangian:
            multipliers = raise_multipliers(
                metrics["cost_gap"], multipliers, config.penalty_course[1], config.multiplier_max
            )
        followed = jax.tree.map(
            lambda old, new: old + config.tau * (new - old), state.targets, compact(world.critics_of(model))
        )
        new = SPOWLState(
            params=(groups, joined_policy),
            targets=followed,
            opt_state=(model_opt, policy_opt),
            multipliers=multipliers,
            scale=metrics["scale"],
            key=state.key,
        )
        return new, SPOWLMetrics(
            model_loss=model_loss,
            **losses,
            **metrics,
            termination_rate=masked_mean(windows.terminated.astype(jnp.float32), windows.valid),
            value_target=jnp.mean(targets.value),
            cost_value_target=jnp.mean(targets.cost_value),
            model_grad_norm=optax.tree.norm(gradient),
            policy_grad_norm=optax.tree.norm(policy_gradient),
            **multipliers._asdict(),
        )

    return step


def make_spowl(
    observations: ObservationSpec, actions: ActionSpec, config: SPOWLConfig, planner: Planner
) -> PlanningAgent:
    """Bind world model, losses and planner into an agent.

    Raises:
        ValueError: the planner needs what the model lacks.
    """
    world = make_tdmpc(observations, actions, config.model)
    check_parts(planner, world.model)
    optimizers = Optimizers(
        model=make_optimizer(config.max_grad_norm, OptimizerConfig(eps=1e-8)),
        policy=make_optimizer(config.max_grad_norm),
    )

    layout = Layout(world, optimizers)

    def init(key: Array) -> SPOWLState:
        model_key, run_key = jax.random.split(key)
        params = world.init(model_key)
        groups, policy = layout.join_params(params)
        return SPOWLState(
            params=(groups, policy),
            targets=compact(world.critics_of(params)),
            opt_state=(optimizers.model.init(groups), optimizers.policy.init(policy)),
            multipliers=Multipliers(
                jnp.float32(config.multiplier_init), jnp.float32(config.penalty_course[0])
            ),
            scale=jnp.ones(()),
            key=run_key,
        )

    step = _make_step(SPOWLParts(config, world), layout, optimizers)
    run = replayed_update(step, config.batch_size, config.model.horizon)
    plan = batch_planner(planner, world.model)

    def act(params: PyTree, *inputs: Any, deterministic: bool) -> tuple[Array, PyTree, dict[str, Array]]:
        return plan(layout.params(params), *inputs, deterministic=deterministic)

    def update(
        state: SPOWLState, data: Buffer | Windows, n_updates: Array, learning_rate: Array
    ) -> tuple[SPOWLState, SPOWLMetrics]:
        state, means = run(state, data, n_updates, learning_rate)
        return state, means._replace(scale=state.scale, **state.multipliers._asdict())

    return PlanningAgent(
        config=config,
        world=world,
        planner=planner,
        init=init,
        init_plan=functools.partial(init_plans, planner, world.spec),
        act=act,
        step=step,
        update=update,
        named=layout.named,
        joined=layout.joined,
    )
