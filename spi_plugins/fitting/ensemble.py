"""Fits the world model ``"ensemble"`` to a replay buffer."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from spi_plugins.actions import restored_action
from spi_plugins.agents.gradient_steps import move, replayed_update
from spi_plugins.agents.optimizer import OptimizerConfig, make_optimizer
from spi_plugins.buffers import Buffer, Windows
from spi_plugins.returns import masked_mean
from spi_plugins.types import ActionSpec, ArraySpec, ObservationSpec, Params, PyTree
from spi_plugins.world_models import ensemble
from spi_plugins.world_models.ensemble import EnsembleConfig, EnsembleParts
from spi_plugins.world_models.members import Steps
from spi_plugins.world_models.mixture import is_number
from spi_plugins.world_models.model import Learner, WorldModel, frozen_settings

_DEVIATION_FLOOR = 1e-3


class _FitState(NamedTuple):
    params: Params
    opt_state: PyTree
    key: Array


def _statistics(parts: EnsembleParts, params: Params, buffer: Buffer) -> Params:
    """Means and deviations over the filled slots, and of rewards over steps."""
    slots = buffer.slots
    filled = jnp.arange(slots.reward.shape[1])[None] < buffer.size[:, None]

    def moments(x: Array, mask: Array) -> tuple[Array, Array]:
        n = jnp.maximum(jnp.sum(mask), 1)
        kept = jnp.where(mask, x, 0.0)
        mean = jnp.sum(kept, axis=0) / n
        spread = jnp.sqrt(jnp.sum(jnp.where(mask, (x - mean) ** 2, 0.0), axis=0) / n)
        return mean, jnp.where(spread < _DEVIATION_FLOOR, 1.0, spread)

    statistics = dict(params["statistics"])
    is_step = (filled & slots.valid).reshape(-1)
    statistics["reward_mean"], statistics["reward_deviation"] = moments(slots.reward.reshape(-1), is_step)
    if parts.encoder is None:
        obs = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), slots.obs)
        numbers = ensemble.flat_numbers(parts.observations, obs)
        mask = filled.reshape(-1)[:, None]
        mean, deviation = jax.vmap(lambda x: moments(x, mask[:, 0]), in_axes=1)(numbers)
        standardized = is_number(parts.layout)[0]
        mean, deviation = jnp.where(standardized, mean, 0.0), jnp.where(standardized, deviation, 1.0)
        statistics |= {"mean": mean, "deviation": deviation}
    return statistics


def _objective(
    trained: Params, parts: EnsembleParts, statistics: Params, windows: Windows
) -> tuple[Array, dict[str, Array]]:
    """Mean losses of the members, each on its own rows, and of the decoder."""
    params, config = {**trained, "statistics": statistics}, parts.config
    z, next_z = (
        ensemble.encode(parts, params, jax.tree.map(lambda x, t=t: x[t], windows.obs)) for t in (0, 1)
    )
    action = restored_action(parts.actions, windows.action[0])
    reward = (windows.reward[0] - statistics["reward_mean"]) / statistics["reward_deviation"]

    def split(x: Array) -> Array:
        return x.reshape(config.n_members, -1, *x.shape[1:])

    def member(p: Params, steps: Steps, valid: Array) -> dict[str, Array]:
        losses = parts.member.losses(p, steps)
        return {f"{name}_loss": masked_mean(loss, valid) for name, loss in losses.items()}

    shaped = action.reshape(-1, *parts.actions.shape) if parts.actions.kind == "box" else action
    steps = Steps(z, shaped, reward, next_z, windows.terminated[0], windows.cost[0])
    by_member = jax.vmap(member)(trained["members"], *jax.tree.map(split, (steps, windows.valid[0])))
    losses = {name: jnp.mean(values) for name, values in by_member.items()}
    if parts.decoder is not None:
        assert isinstance(parts.observations, ArraySpec)
        pixels = windows.obs[0].astype(jnp.float32)
        losses["decoder_loss"] = 100.0 * jnp.mean(((ensemble.decode(parts, params, z) - pixels) / 255.0) ** 2)
    return jnp.sum(jnp.stack(list(losses.values()))), losses


def _make_learner(parts: EnsembleParts) -> Learner:
    config = parts.config
    optimizer = make_optimizer(config.max_grad_norm, OptimizerConfig(eps=1e-8))

    def init(key: Array, buffer: Buffer) -> _FitState:
        params_key, run_key = jax.random.split(key)
        params = ensemble.init(parts, params_key)
        params["statistics"] = _statistics(parts, params, buffer)
        trained = {name: tree for name, tree in params.items() if name != "statistics"}
        return _FitState(params, optimizer.init(trained), run_key)

    def step(
        state: _FitState, windows: Windows, learning_rate: Array, key: Array
    ) -> tuple[_FitState, dict[str, Array]]:
        statistics = state.params["statistics"]
        trained = {name: tree for name, tree in state.params.items() if name != "statistics"}
        del key
        gradient, losses = jax.grad(_objective, has_aux=True)(trained, parts, statistics, windows)
        changes, opt_state = optimizer.update(gradient, state.opt_state)
        trained = move(trained, changes, learning_rate)
        return _FitState({**trained, "statistics": statistics}, opt_state, state.key), losses

    update = replayed_update(step, config.batch_size * config.n_members, 1)
    return Learner(init=init, update=update, params=lambda state: state.params)


def make_ensemble_world(observations: ObservationSpec, actions: ActionSpec, **settings: Any) -> WorldModel:
    """The world model ``"ensemble"``, of numbers (also in a Dict) or one image, and actions of any kind.

    ``settings`` are fields of ``world_models.ensemble.EnsembleConfig``; lists count as tuples.

    Raises:
        ValueError: a setting is out of range, or images are in a Dict.
        TypeError: a setting is unknown.
    """
    config = EnsembleConfig(**frozen_settings(settings))
    parts = ensemble.make_parts(observations, actions, config)
    return WorldModel(
        kind="ensemble",
        settings=dataclasses.asdict(parts.config),
        model=ensemble.make_model(parts),
        init=lambda key: ensemble.init(parts, key),
        learner=_make_learner(parts),
    )
