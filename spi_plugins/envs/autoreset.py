"""Steps many copies of one functional environment, and resets them in Gymnasium's same-step or next-step mode.

Each environment has its own chain of keys, with one link per reset and per step. So ``B`` environments equal ``B``
single ones that started from the same keys, whatever the others do, and same-step, next-step and manual resets see the
same episodes.

All functions are pure: ``jit``, ``scan`` and ``vmap`` them, with ``env`` static and ``params`` traced.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32, Key

from spi_plugins.envs.base import FunctionalEnv
from spi_plugins.types import Observation, PyTree


class VectorState(NamedTuple):
    """``B`` environments between two steps."""

    env: PyTree  # the environments' own states, each leaf with a leading axis ``B``
    key: Key[Array, " B"]  # typed PRNG keys, one chain per environment
    elapsed: Int32[Array, " B"]  # steps since the last reset
    episode_return: Float[Array, " B"]  # undiscounted sum of the episode's (own) rewards so far
    episode_cost: Float[Array, " B"]  # undiscounted sum of the episode's costs so far


class VectorStep(NamedTuple):
    """One step of ``B`` environments."""

    # Observation to act on next: the first of a new episode after a reset, else ``final_obs``
    obs: Observation
    final_obs: Observation  # observation of the state that the step reached, before any reset
    reward: Float[Array, " B"]
    cost: Float[Array, " B"]
    terminated: Bool[Array, " B"]  # the state reached is terminal
    # The time limit was reached in a state that is not terminal; never true with ``terminated``
    truncated: Bool[Array, " B"]
    episode_return: Float[Array, " B"]  # the episode's sum of rewards up to and including this step
    episode_length: Int32[Array, " B"]  # the episode's steps, including this one
    episode_cost: Float[Array, " B"]  # the episode's sum of costs up to and including this step
    # ``env.info`` of the state reached; empty if the environment has none
    info: dict[str, Float[Array, " B"]]


def reset(env: FunctionalEnv, params: PyTree, keys: Key[Array, " B"]) -> tuple[VectorState, Observation]:
    """Start an episode in ``B`` environments.

    Each has its own typed key, which determines its whole future; they share the parameters, by default
    ``env.params``.
    """
    return jax.vmap(functools.partial(_begin, env, params))(keys)


def step(
    env: FunctionalEnv, params: PyTree, state: VectorState, action: Array
) -> tuple[VectorState, VectorStep]:
    """Step every environment, and reset those whose episode ended within the same step.

    An episode ends when the state reached is terminal, or after ``env.max_episode_steps`` steps (truncation).
    """

    def one(state: VectorState, action: Array) -> tuple[VectorState, VectorStep]:
        after, out = _advance(env, params, state, action)
        done = out.terminated | out.truncated
        fresh, fresh_obs = _begin(env, params, after.key)
        return _select(done, fresh, after), out._replace(obs=_select(done, fresh_obs, out.final_obs))

    return jax.vmap(one)(state, action)


def step_without_reset(
    env: FunctionalEnv, params: PyTree, state: VectorState, action: Array
) -> tuple[VectorState, VectorStep]:
    """Step every environment without resets; ``obs`` is ``final_obs``.

    The caller resets with ``reset_where``. A step past an episode's end continues from its final state.
    """
    return jax.vmap(functools.partial(_advance, env, params))(state, action)


def step_or_reset(
    env: FunctionalEnv, params: PyTree, state: VectorState, action: Array, resetting: Bool[Array, " B"]
) -> tuple[VectorState, VectorStep]:
    """Step some environments and reset the others, whose episode the last step ended: next-step autoreset.

    A row that resets is not a transition: its action is ignored, its reward, cost and totals are 0, and it ends no
    episode.
    """

    def one(state: VectorState, action: Array, resetting: Bool[Array, ""]) -> tuple[VectorState, VectorStep]:
        after, out = _advance(env, params, state, action)
        fresh, fresh_obs = _begin(env, params, state.key)
        nothing: VectorStep = jax.tree.map(jnp.zeros_like, out)._replace(obs=fresh_obs, final_obs=fresh_obs)
        return _select(resetting, fresh, after), _select(resetting, nothing, out)

    return jax.vmap(one)(state, action, resetting)


def reset_where(
    env: FunctionalEnv, params: PyTree, state: VectorState, mask: Bool[Array, " B"]
) -> tuple[VectorState, Observation]:
    """Start a new episode where ``mask`` is true, continuing each environment's chain of keys.

    The observations are those of all environments, including those that were not reset.
    """

    def one(state: VectorState, mask: Bool[Array, ""]) -> tuple[VectorState, Observation]:
        fresh, fresh_obs = _begin(env, params, state.key)
        return _select(mask, fresh, state), _select(mask, fresh_obs, env.observation(state.env, params))

    return jax.vmap(one)(state, mask)


def action_masks(env: FunctionalEnv, params: PyTree, state: VectorState) -> Bool[Array, "B P"]:
    """Which actions each environment allows next; only for an ``env`` with ``action_masks``.

    Raises:
        ValueError: ``env.action_masks`` returns another shape or dtype than ``bool [action_spec.size]``.
    """
    function = env.action_masks
    assert function is not None
    masks: Array = jax.vmap(lambda inner: jnp.asarray(function(inner, params)))(state.env)
    if masks.shape[1:] != (env.action_spec.size,) or masks.dtype != bool:
        raise ValueError(
            f"action_masks of {env.name} must return bool ({env.action_spec.size},), one for each value of each "
            f"discrete entry, got {masks.dtype} {masks.shape[1:]}."
        )
    return masks


def _begin(env: FunctionalEnv, params: PyTree, key: Key[Array, ""]) -> tuple[VectorState, Observation]:
    """Start an episode of one environment."""
    chain, initial_key = jax.random.split(key)
    inner = env.initial(initial_key, params)
    zero = jnp.float32(0)
    return VectorState(inner, chain, jnp.int32(0), zero, zero), env.observation(inner, params)


def _advance(
    env: FunctionalEnv, params: PyTree, state: VectorState, action: Array
) -> tuple[VectorState, VectorStep]:
    """Step one environment."""
    chain, transition_key = jax.random.split(state.key)
    inner = env.transition(state.env, action, transition_key, params)
    reward = jnp.asarray(env.reward(state.env, action, inner, params), jnp.float32)
    cost = jnp.asarray(env.cost(state.env, action, inner, params), jnp.float32)
    terminated = jnp.asarray(env.terminal(inner, params), bool)
    own = reward
    if env.own_reward is not None:
        own = jnp.asarray(env.own_reward(state.env, action, inner, params), jnp.float32)
    after = VectorState(
        inner, chain, state.elapsed + 1, state.episode_return + own, state.episode_cost + cost
    )
    limit = env.max_episode_steps
    out_of_time = jnp.asarray(False) if limit is None else after.elapsed >= limit
    obs = env.observation(inner, params)
    return after, VectorStep(
        obs=obs,
        final_obs=obs,
        reward=reward,
        cost=cost,
        terminated=terminated,
        truncated=out_of_time & ~terminated,
        episode_return=after.episode_return,
        episode_length=after.elapsed,
        episode_cost=after.episode_cost,
        info={} if env.info is None else env.info(inner, params),
    )


def _select(condition: Bool[Array, ""], when_true: Any, when_false: Any) -> Any:
    """Select a whole tree by one boolean."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), when_true, when_false)
