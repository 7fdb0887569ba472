"""SPOWL as a pure agent: world-model loss, policy loss with an augmented Lagrangian, slow critics, a planner.

"Safe Planning and Policy Optimization via World Model Learning" (arXiv:2506.04828) and its code. Without costs it is
TD-MPC2 (arXiv:2310.16828). Where this differs from the published code is numbered in ``docs/spowl.md``.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from spi_plugins import buffers
from spi_plugins.agents.planning import PlanningAgent, SPOWLMetrics, SPOWLState
from spi_plugins.agents.spowl.config import SPOWLConfig
from spi_plugins.agents.spowl.loss import policy_objective, targets_of, world_model_objective
from spi_plugins.buffers import Buffer, Windows
from spi_plugins.losses.lagrangian import Multipliers, raise_multipliers
from spi_plugins.planners.batch import init_plans, plan_batch
from spi_plugins.planners.planner import Planner, check_parts
from spi_plugins.types import ActionSpec, ObservationSpec, Params
from spi_plugins.world_models.tdmpc import TDMPC, make_tdmpc


class _Optimizers(NamedTuple):
    """Of the model (all but the policy) and of the policy; learning rates are applied outside."""

    model: optax.GradientTransformation
    policy: optax.GradientTransformation


def _optimizers(config: SPOWLConfig) -> _Optimizers:
    clip = optax.clip_by_global_norm(config.max_grad_norm)
    return _Optimizers(
        optax.chain(clip, optax.scale_by_adam(eps=1e-8)), optax.chain(clip, optax.scale_by_adam(eps=1e-5))
    )


def _split(params: Params) -> tuple[Params, Params]:
    """The model's parameters and the policy's."""
    return {k: v for k, v in params.items() if k != "policy"}, params["policy"]


def _make_step(
    config: SPOWLConfig, world: TDMPC, optimizers: _Optimizers
) -> Callable[..., tuple[SPOWLState, SPOWLMetrics]]:
    def descend(params: Params, changes: Params, rates: dict[str, Array]) -> Params:
        return {
            name: jax.tree.map(lambda p, change, r=rate: p - r * change, params[name], changes[name])
            for name, rate in rates.items()
        }

    def step(
        state: SPOWLState, windows: Windows, learning_rate: Array, key: Array
    ) -> tuple[SPOWLState, SPOWLMetrics]:
        """One gradient step on the model, then one on the policy, then the slow critics and the multipliers."""
        target_key, model_key, policy_key = jax.random.split(key, 3)
        targets = targets_of(config, world, state.params, state.targets, windows, target_key)
        model, policy = _split(state.params)

        (_, (losses, z)), gradient = jax.value_and_grad(world_model_objective, has_aux=True)(
            model, config, world, windows, targets, model_key
        )
        changes, model_opt = optimizers.model.update(gradient, state.opt_state[0])
        rates = dict.fromkeys(model, learning_rate)
        rates["encoder"] = learning_rate * config.encoder_lr_scale
        model = descend(model, changes, rates)

        latents = jax.lax.stop_gradient(z)
        (_, parts), policy_gradient = jax.value_and_grad(policy_objective, has_aux=True)(
            policy, config, world, model, state, latents, windows.done, policy_key
        )
        changes, policy_opt = optimizers.policy.update(policy_gradient, state.opt_state[1])
        policy = jax.tree.map(lambda p, change: p - learning_rate * change, policy, changes)

        multipliers = state.multipliers
        if config.uses_lagrangian:
            multipliers = raise_multipliers(
                parts.cost_gap, multipliers, config.penalty_rate, config.multiplier_max
            )
        params = {**model, "policy": policy}
        slow = jax.tree.map(
            lambda old, new: old + config.tau * (new - old), state.targets, world.targets(params)
        )
        metrics = SPOWLMetrics(
            **losses._asdict(),
            **parts._asdict(),
            value_target=jnp.mean(targets.value),
            cost_value_target=jnp.mean(targets.cost_value),
            model_grad_norm=optax.tree.norm(gradient),
            policy_grad_norm=optax.tree.norm(policy_gradient),
            multiplier=multipliers.multiplier,
            penalty=multipliers.penalty,
        )
        new = SPOWLState(params, slow, (model_opt, policy_opt), multipliers, parts.scale, state.key)
        return new, metrics

    return step


def _make_update(
    config: SPOWLConfig, step: Callable[..., tuple[SPOWLState, SPOWLMetrics]]
) -> Callable[..., tuple[SPOWLState, SPOWLMetrics]]:
    def update(
        state: SPOWLState, data: Buffer | Windows, n_updates: Array, learning_rate: Array
    ) -> tuple[SPOWLState, SPOWLMetrics]:
        """``n_updates`` gradient steps; a traced number, so that none compiles anew."""
        next_key, run_key = jax.random.split(state.key)

        def body(i: Array, carry: tuple[SPOWLState, SPOWLMetrics]) -> tuple[SPOWLState, SPOWLMetrics]:
            state, sums = carry
            sample_key, step_key = jax.random.split(jax.random.fold_in(run_key, i))
            if isinstance(data, Buffer):
                windows = buffers.sample(data, sample_key, config.batch_size, config.model.horizon)
            else:
                windows = jax.tree.map(lambda x: x[i], data)
            state, metrics = step(state, windows, learning_rate, step_key)
            return state, jax.tree.map(jnp.add, sums, metrics)

        zeros = SPOWLMetrics(*(jnp.zeros(()) for _ in SPOWLMetrics._fields))
        state, sums = jax.lax.fori_loop(0, n_updates, body, (state, zeros))
        means = jax.tree.map(lambda x: x / jnp.maximum(n_updates, 1), sums)
        last = {"multiplier": state.multipliers.multiplier, "penalty": state.multipliers.penalty}
        return state._replace(key=next_key), means._replace(scale=state.scale, **last)

    return update


def make_spowl(
    observations: ObservationSpec, actions: ActionSpec, config: SPOWLConfig, planner: Planner
) -> PlanningAgent:
    """Bind world model, losses and planner into an agent.

    Args:
        observations: what the environment shows.
        actions: what it takes; a box.
        config: see ``SPOWLConfig``.
        planner: see ``planners.planner``.

    Raises:
        ValueError: the actions are no box, or the planner needs what the model lacks.
    """
    world = make_tdmpc(observations, actions, config.model)
    check_parts(planner, world.spec)
    optimizers = _optimizers(config)

    def init(key: Array) -> SPOWLState:
        model_key, run_key = jax.random.split(key)
        params = world.init(model_key)
        model, policy = _split(params)
        return SPOWLState(
            params=params,
            targets=jax.tree.map(jnp.copy, world.targets(params)),
            opt_state=(optimizers.model.init(model), optimizers.policy.init(policy)),
            multipliers=Multipliers(jnp.float32(config.multiplier_init), jnp.float32(config.penalty_init)),
            scale=jnp.ones(()),
            key=run_key,
        )

    step = _make_step(config, world, optimizers)
    return PlanningAgent(
        config=config,
        world=world,
        planner=planner,
        init=init,
        init_plan=functools.partial(init_plans, planner, world.spec),
        act=functools.partial(plan_batch, planner, world.model),
        step=step,
        update=_make_update(config, step),
    )
