"""Conformance of functional environments: pure, jittable, and true to their specs."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spi_plugins.actions import allow_some, random_actions
from spi_plugins.envs.base import FunctionalEnv
from spi_plugins.testing.requirement import layout, require, require_array, require_made, require_same_leaves
from spi_plugins.types import ArraySpec, ObservationSpec


def check_functional_env(env: FunctionalEnv, *, num_steps: int = 32, num_envs: int = 3) -> None:
    """Check that an environment fulfills the contract of ``FunctionalEnv``, by stepping it with random actions.

    Its functions must run under ``jit``, ``vmap`` and ``scan``, return the same for the same key, keep the layout of
    the state, and return observations, rewards, costs and flags as declared.

    Args:
        env: the environment.
        num_steps: steps to take.
        num_envs: copies to take them in.

    Raises:
        ConformanceError: the contract is broken; the message says where.
    """
    require_made(env, FunctionalEnv)
    require(
        env.max_episode_steps is None or env.max_episode_steps >= 1,
        f"max_episode_steps must be None or at least 1, got {env.max_episode_steps}.",
    )
    key = jax.random.key(0)
    state = jax.jit(env.initial)(key, env.params)
    again = jax.jit(env.initial)(key, env.params)
    require_same_leaves(again, state, "initial must return the same for the same key.")
    _check_observation(env.observation_spec, env.observation(state, env.params))
    action = random_actions(env.action_spec, np.random.default_rng(0), ())
    _check_one_step(env, state, action, key)
    _check_many_steps(env, num_steps, num_envs)
    if env.render is not None:
        _check_frame(env.render(state, env.params))


def _check_one_step(env: FunctionalEnv, state: Any, action: np.ndarray[Any, Any], key: jax.Array) -> None:
    after = jax.jit(env.transition)(state, action, key, env.params)
    before, behind = layout(state), layout(after)
    require(behind == before, f"transition must keep the state's layout: {before} became {behind}.")
    again = jax.jit(env.transition)(state, action, key, env.params)
    require_same_leaves(again, after, "transition must return the same for the same state, action and key.")
    for name, function in (("reward", env.reward), ("cost", env.cost)):
        require_array(name, jax.jit(function)(state, action, after, env.params), "float32", ())
    require_array("terminal", jax.jit(env.terminal)(after, env.params), "bool", ())
    if env.action_masks is not None:
        masks = jax.jit(env.action_masks)(state, env.params)
        require_array("action_masks", masks, "bool", (env.action_spec.size,))
        require(
            allow_some(env.action_spec, masks), f"action_masks must allow an action at first, got {masks}."
        )
    info = {} if env.info is None else jax.jit(env.info)(after, env.params)
    names = [name for name, _ in env.info_dtypes]
    require(
        sorted(info) == sorted(names), f"info must return {names} as info_dtypes says, got {sorted(info)}."
    )
    for name, value in info.items():
        require_array(f"info[{name!r}]", value, "float32", ())


def _check_many_steps(env: FunctionalEnv, num_steps: int, num_envs: int) -> None:
    actions = jnp.asarray(random_actions(env.action_spec, np.random.default_rng(1), (num_steps, num_envs)))

    def step(state: Any, inputs: tuple[jax.Array, jax.Array]) -> tuple[Any, tuple[Any, jax.Array, jax.Array]]:
        action, keys = inputs
        after = jax.vmap(env.transition, (0, 0, 0, None))(state, action, keys, env.params)
        reward = jax.vmap(env.reward, (0, 0, 0, None))(state, action, after, env.params)
        cost = jax.vmap(env.cost, (0, 0, 0, None))(state, action, after, env.params)
        return after, (jax.vmap(env.observation, (0, None))(after, env.params), reward, cost)

    initial_key, step_key = jax.random.split(jax.random.key(1))
    first = jax.vmap(env.initial, (0, None))(jax.random.split(initial_key, num_envs), env.params)
    keys = jax.random.split(step_key, (num_steps, num_envs))
    _, (observations, rewards, costs) = jax.jit(lambda s: jax.lax.scan(step, s, (actions, keys)))(first)
    for name, values in (("reward", rewards), ("cost", costs)):
        require(jnp.isfinite(values).all(), f"{name} must be finite, also past the end of an episode.")
    last = jax.tree.map(lambda leaf: leaf[-1, 0], observations)
    _check_observation(env.observation_spec, last)


def _check_observation(spec: ObservationSpec, observation: Any) -> None:
    if not isinstance(spec, ArraySpec):
        got = sorted(observation) if isinstance(observation, dict) else type(observation).__name__
        keys = [key for key, _ in spec]
        require(got == keys, f"observation must be a dict with the keys {keys}, got {got}.")
        for key, part in spec:
            _check_array(f"observation[{key!r}]", part, observation[key])
    else:
        _check_array("observation", spec, observation)


def _check_array(name: str, spec: ArraySpec, value: Any) -> None:
    require_array(name, value, spec.dtype, spec.shape)
    array = np.asarray(value, np.float64)
    require(
        np.isfinite(array).all() and (array >= spec.low).all() and (array <= spec.high).all(),
        f"{name} must stay in [{spec.low}, {spec.high}], got {array.min()} to {array.max()}.",
    )


def _check_frame(frame: Any) -> None:
    require(
        isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3,
        f"render must return a uint8 NumPy array [height, width, 3], got {type(frame).__name__} "
        f"of shape {getattr(frame, 'shape', None)}.",
    )
