"""SPOWL as a pure agent: world-model loss, policy loss with an augmented Lagrangian, slow critics, a planner.

"Safe Planning and Policy Optimization via World Model Learning" (arXiv:2506.04828) and its code. Without costs it is
TD-MPC2 (arXiv:2310.16828). ``docs/spowl.md`` numbers the deviations from the published code.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from spi_plugins.agents.gradient_steps import move, replayed_update
from spi_plugins.agents.optimizer import OptimizerConfig, make_optimizer
from spi_plugins.agents.planning import PlanningAgent, SPOWLMetrics, SPOWLState
from spi_plugins.agents.spowl.config import SPOWLConfig
from spi_plugins.agents.spowl.loss import SPOWLParts, policy_objective, targets_of, world_model_objective
from spi_plugins.buffers import Buffer, Windows
from spi_plugins.losses.lagrangian import Multipliers, raise_multipliers
from spi_plugins.planners.batch import batch_planner, init_plans
from spi_plugins.planners.planner import Planner, check_parts
from spi_plugins.types import ActionSpec, ObservationSpec, Params
from spi_plugins.world_models.tdmpc import make_tdmpc


def _split(params: Params) -> tuple[Params, Params]:
    """Split parameters into the model's and the policy's."""
    return {k: v for k, v in params.items() if k != "policy"}, params["policy"]


def _make_step(
    parts: SPOWLParts, optimizers: tuple[optax.GradientTransformation, optax.GradientTransformation]
) -> Callable[..., tuple[SPOWLState, SPOWLMetrics]]:
    (config, world), (model_optimizer, policy_optimizer) = parts, optimizers

    def step(
        state: SPOWLState, windows: Windows, learning_rate: Array, key: Array
    ) -> tuple[SPOWLState, SPOWLMetrics]:
        """One gradient step on the model, then one on the policy, then the slow critics and the multipliers."""
        target_key, model_key, policy_key = jax.random.split(key, 3)
        targets = targets_of(parts, state.params, state.targets, windows, target_key)
        model, policy = _split(state.params)

        (model_loss, (losses, z)), gradient = jax.value_and_grad(world_model_objective, has_aux=True)(
            model, parts, windows, targets, model_key
        )
        changes, model_opt = model_optimizer.update(gradient, state.opt_state[0])
        rates = {**dict.fromkeys(model, learning_rate), "encoder": learning_rate * config.encoder_lr_scale}
        model = {name: move(model[name], changes[name], rates[name]) for name in model}

        latents = jax.lax.stop_gradient(z)
        (_, metrics), policy_gradient = jax.value_and_grad(policy_objective, has_aux=True)(
            policy, parts, model, state, latents, windows.done, policy_key
        )
        changes, policy_opt = policy_optimizer.update(policy_gradient, state.opt_state[1])
        policy = move(policy, changes, learning_rate)

        multipliers = state.multipliers
        if config.uses_lagrangian:
            multipliers = raise_multipliers(
                metrics["cost_gap"], multipliers, config.penalty_rate, config.multiplier_max
            )
        params = {**model, "policy": policy}
        slow = jax.tree.map(
            lambda old, new: old + config.tau * (new - old), state.targets, world.targets(params)
        )
        new = SPOWLState(params, slow, (model_opt, policy_opt), multipliers, metrics["scale"], state.key)
        return new, SPOWLMetrics(
            model_loss=model_loss,
            **losses,
            **metrics,
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
        ValueError: the actions are not a box, or the planner needs what the model lacks.
    """
    world = make_tdmpc(observations, actions, config.model)
    check_parts(planner, world.model)
    # Of the model (all but the policy) and of the policy.
    optimizers = (
        make_optimizer(config.max_grad_norm, OptimizerConfig(eps=1e-8)),
        make_optimizer(config.max_grad_norm),
    )

    def init(key: Array) -> SPOWLState:
        model_key, run_key = jax.random.split(key)
        params = world.init(model_key)
        model, policy = _split(params)
        return SPOWLState(
            params=params,
            targets=jax.tree.map(jnp.copy, world.targets(params)),
            opt_state=(optimizers[0].init(model), optimizers[1].init(policy)),
            multipliers=Multipliers(jnp.float32(config.multiplier_init), jnp.float32(config.penalty_init)),
            scale=jnp.ones(()),
            key=run_key,
        )

    step = _make_step(SPOWLParts(config, world), optimizers)
    zeros = SPOWLMetrics(*(jnp.zeros(()) for _ in SPOWLMetrics._fields))
    run = replayed_update(step, zeros, config.batch_size, config.model.horizon)

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
        act=batch_planner(planner, world.model),
        step=step,
        update=update,
    )
