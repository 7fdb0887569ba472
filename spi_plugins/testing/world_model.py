"""Conformance of world models: pure functions of the right shapes, a fit that learns, and a dream that conforms."""

import json
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spi_plugins.actions import model_action, random_actions, stored_action
from spi_plugins.buffers import Buffer, Slot
from spi_plugins.dreams.env import DreamConfig, make_dream
from spi_plugins.testing.functional_env import check_functional_env
from spi_plugins.testing.requirement import layout, require, require_array, require_made, require_same_leaves
from spi_plugins.types import ActionSpec, ArraySpec, Observation, ObservationSpec
from spi_plugins.world_models.model import FittedModel, Model, WorldModel

# The data: environments, slots of each, and observations of an episode.
_ENVS, _SLOTS, _EPISODE = 4, 65, 13


def check_world_model(
    factory: Callable[..., WorldModel],
    observations: ObservationSpec,
    actions: ActionSpec,
    *,
    num_updates: int = 60,
    learning_rate: float = 1e-3,
    **settings: Any,
) -> None:
    """Check that a factory fulfills the contract of ``register_world_models``, and fit the model that it makes.

    The data comes from a world that a model can learn: numbers decay, the first of them is the reward, and every
    thirteenth observation ends an episode. The fit is skipped for a model that only an agent can fit.

    Args:
        factory: the registered factory.
        observations: what the model observes.
        actions: what it acts with.
        num_updates: gradient steps within which the sum of the losses must fall.
        learning_rate: learning rate of these steps.
        **settings: settings of the factory.

    Raises:
        ConformanceError: the contract is broken; the message says where.
    """
    world = factory(observations, actions, **settings)
    require_made(world, WorldModel)
    require(
        isinstance(world.kind, str) and world.kind, f"kind must be the registered name, got {world.kind!r}."
    )
    params = _check_params(world)
    again = factory(observations, actions, **_through_json(world.settings))
    shapes = [layout(jax.eval_shape(made.init, jax.random.key(0))) for made in (world, again)]
    require(
        shapes[0] == shapes[1],
        "The factory must build the same parameters from its settings, read back from JSON.",
    )
    require(
        again.model.spec == world.model.spec,
        "The factory must build the same model.spec from its settings, read back from JSON.",
    )
    buffer = _data(observations, actions)
    obs = jax.tree.map(lambda x: x[0, :8], buffer.slots.obs)
    drawn = jnp.asarray(random_actions(actions, np.random.default_rng(1), (8,)))
    _check_model(world.model, params, obs, model_action(actions, drawn))
    if world.learner is not None:
        params = _check_learner(world, buffer, num_updates, learning_rate)
    starts = world.model.encode(params, obs)
    low, high = world.model.spec.latent_low, world.model.spec.latent_high
    if not (math.isfinite(low) and math.isfinite(high)):
        low, high = float(starts.min()) - 1.0, float(starts.max()) + 1.0
    dream = DreamConfig(latent_low=low, latent_high=high)
    check_functional_env(make_dream(FittedModel(world.model, params, observations, actions), starts, dream))


def _through_json(settings: Any) -> dict[str, Any]:
    try:
        read: dict[str, Any] = json.loads(json.dumps(settings))
    except (TypeError, ValueError) as error:
        require(False, f"settings must be what JSON can hold: {error}.")
        raise
    return read


def _check_params(world: WorldModel) -> Any:
    init = jax.jit(world.init)
    params = init(jax.random.key(0))
    leaves = jax.tree.leaves(params)
    require(leaves, "init must return a pytree with at least one array of parameters.")
    require(
        all(isinstance(leaf, jax.Array) and jnp.isfinite(leaf).all() for leaf in leaves),
        "init must return finite arrays.",
    )
    again = init(jax.random.key(0))
    require_same_leaves(again, params, "init must return the same parameters for the same key.")
    return params


def _check_model(model: Model, params: Any, obs: Observation, action: jax.Array) -> None:
    spec, rows = model.spec, len(action)
    for name, heads in (("value", spec.n_values), ("cost_value", spec.n_cost_values)):
        require(
            (getattr(model, name) is not None) == (heads > 0),
            f"model.{name} must be {'a function' if heads else 'None'}: spec.n_{name}s is {heads}.",
        )
    z = jax.jit(model.encode)(params, obs)
    _check_array("encode", z, (rows, *spec.latent_shape))
    step = jax.jit(model.step)
    for key in (jax.random.key(1), None):
        found, again = step(params, z, action, key), step(params, z, action, key)
        _check_array("step().next_z", found.next_z, z.shape)
        _check_array("step().reward", found.reward, (rows,))
        _check_array("step().cost", found.cost, (spec.n_costs, rows))
        _check_array("step().terminated", found.terminated, (rows,))
        require(
            ((found.terminated >= 0) & (found.terminated <= 1)).all(),
            "step().terminated must be probabilities.",
        )
        require_same_leaves(again, found, "step must return the same for the same key.")
    if model.uncertainty is not None:
        uncertainty = jax.jit(model.uncertainty)(params, z, action)
        _check_array("uncertainty", uncertainty, (rows,))
        require((uncertainty >= 0).all(), f"uncertainty must be at least 0, got {uncertainty.min()}.")
    if model.decode is not None:
        _check_array("decode", jax.jit(model.decode)(params, z), jax.tree.leaves(obs)[0].shape)


def _check_learner(world: WorldModel, buffer: Buffer, num_updates: int, learning_rate: float) -> Any:
    assert world.learner is not None
    state = jax.jit(world.learner.init)(jax.random.key(2), buffer)
    update = jax.jit(world.learner.update, donate_argnums=0)
    half = max(num_updates // 2, 1)
    totals = []
    for count in (1, half, half):
        state, losses = update(state, buffer, jnp.int32(count), jnp.float32(learning_rate))
        require(losses, "update must report its losses by name.")
        for name, loss in losses.items():
            _check_array(f"losses[{name!r}]", loss, ())
        totals.append(float(jnp.sum(jnp.stack(list(losses.values())))))
    require(
        totals[2] < totals[0],
        f"{num_updates} updates must lower the losses: {totals[0]:g} became {totals[2]:g}.",
    )
    params = world.learner.params(state)
    like = jax.eval_shape(world.init, jax.random.key(0))
    require(
        bool(jax.tree.structure(params) == jax.tree.structure(like)),  # type: ignore[operator]
        "learner.params must return parameters like init's.",
    )
    return params


def _data(observations: ObservationSpec, actions: ActionSpec) -> Buffer:
    """Episodes of thirteen observations in a world that decays."""
    rng = np.random.default_rng(0)
    time = np.tile(np.arange(_SLOTS) % _EPISODE, (_ENVS, 1))
    if isinstance(observations, ArraySpec):
        obs: Any = _walk(observations, time, rng)
        first = obs
    else:
        obs = {key: _walk(spec, time, rng) for key, spec in observations}
        first = obs[observations[0][0]]
    reward = first.reshape(*time.shape, -1)[..., 0].astype(np.float32)
    drawn = random_actions(actions, rng, (_ENVS * _SLOTS,))
    stored = stored_action(actions, jnp.asarray(drawn)).reshape(_ENVS, _SLOTS, -1)
    flags = (time == _EPISODE - 1, np.zeros(time.shape, bool), time > 0)
    cost = (reward > 0).astype(np.float32)
    slots = Slot(jax.tree.map(jnp.asarray, obs), stored, *(jnp.asarray(x) for x in (reward, cost, *flags)))
    return Buffer(slots, jnp.zeros(_ENVS, jnp.int32), jnp.full(_ENVS, _SLOTS, jnp.int32))


def _walk(spec: ArraySpec, time: np.ndarray[Any, Any], rng: np.random.Generator) -> Any:
    if spec.kind == "discrete":
        return rng.integers(spec.nvec[0], size=time.shape).astype(np.int32)
    if spec.kind == "multi_discrete":
        return rng.integers(np.reshape(spec.nvec, spec.shape), size=(*time.shape, *spec.shape)).astype(
            np.int32
        )
    if spec.kind == "multi_binary":
        return rng.integers(2, size=(*time.shape, *spec.shape)).astype(np.int8)
    begin = rng.uniform(-1.0, 1.0, size=spec.shape)
    decayed = 0.9 ** time.reshape(*time.shape, *(1 for _ in spec.shape)) * begin
    if spec.kind == "image":
        return (127.5 + 127.5 * decayed).astype(np.uint8)
    return np.clip(decayed, spec.low, spec.high).astype(np.float32)


def _check_array(name: str, value: Any, shape: tuple[int, ...]) -> None:
    require_array(name, value, "float32", shape)
    require(jnp.isfinite(value).all(), f"{name} must be finite.")
