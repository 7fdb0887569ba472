"""Cost constraints as functional environments around one: what ``spi_wrappers`` does to rewards, in pure functions.

``own_reward`` of the results is the environment's own, which episode returns sum up.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spi_plugins.envs.base import Configured, FunctionalEnv, Scalar
from spi_plugins.types import ArraySpec, Observation, PyTree

BUDGET_KEY = "budget"
_LARGEST = float(np.finfo(np.float32).max)


class Counted(NamedTuple):
    """The state of an environment that counts its costs."""

    inner: PyTree
    tally: Scalar  # of the episode: what is left of the budget, or the sum of the costs


class _Budget(NamedTuple):
    env: FunctionalEnv
    budget: float
    gamma: float
    unsafe_reward: float


def budgeted(env: FunctionalEnv, *, budget: float, gamma: float, unsafe_reward: float) -> FunctionalEnv:
    """``SauteBudget``: observations show the fraction of the budget that is left, whose end makes rewards unsafe.

    Raises:
        TypeError: observations are neither flat floats nor a dictionary.
    """
    config = _Budget(env._replace(params=()), budget, gamma, unsafe_reward)
    return _counting(env, config)._replace(
        observation_spec=_extended_spec(env),
        initial=Configured(_full_budget, config),
        observation=Configured(_observation_with_budget, config),
        transition=Configured(_spend, config),
        reward=Configured(_budgeted_reward, config),
    )


def _extended_spec(env: FunctionalEnv) -> Any:
    spec = env.observation_spec
    if not isinstance(spec, ArraySpec):
        one = ArraySpec(kind="box", shape=(1,), dtype="float32", low=-_LARGEST)
        return tuple(sorted((*spec, (BUDGET_KEY, one)), key=lambda part: part[0]))
    if spec.kind != "box" or len(spec.shape) != 1:
        raise TypeError(
            f"The budget is appended to observations that are flat arrays of floats or dictionaries, not {spec}."
        )
    # A spec has the same bounds for all entries.
    return ArraySpec(kind="box", shape=(spec.shape[0] + 1,), dtype=spec.dtype)


def _full_budget(config: _Budget, key: jax.Array, params: PyTree) -> Counted:
    return Counted(config.env.initial(key, params), jnp.float32(1))


def _observation_with_budget(config: _Budget, state: Counted, params: PyTree) -> Observation:
    own, left = config.env.observation(state.inner, params), state.tally[None]
    if isinstance(own, dict):
        return {**own, BUDGET_KEY: left}
    return jnp.concatenate([own, left.astype(own.dtype)])


def _spend(config: _Budget, state: Counted, action: jax.Array, key: jax.Array, params: PyTree) -> Counted:
    after = config.env.transition(state.inner, action, key, params)
    left = state.tally - config.env.cost(state.inner, action, after, params) / config.budget
    return Counted(after, jnp.clip(left / config.gamma, -_LARGEST, _LARGEST) if config.gamma < 1 else left)


def _budgeted_reward(
    config: _Budget, state: Counted, action: jax.Array, after: Counted, params: PyTree
) -> Scalar:
    own = config.env.reward(state.inner, action, after.inner, params)
    return jnp.where(after.tally > 0, own, config.unsafe_reward)


class _Limit(NamedTuple):
    env: FunctionalEnv
    limit: float
    reward: float | None


def limited(env: FunctionalEnv, *, limit: float, reward: float | None) -> FunctionalEnv:
    """``CostLimit``: an episode terminates in the step that brings its cost above the limit.

    ``reward``, unless ``None``, is that of the step, also in the episode's return.
    """
    config = _Limit(env._replace(params=()), limit, reward)
    return _counting(env, config)._replace(
        initial=Configured(_no_costs, config),
        transition=Configured(_add_cost, config),
        reward=Configured(_limited_reward, config),
        terminal=Configured(_above_limit, config),
        own_reward=None,
    )


def _no_costs(config: _Limit, key: jax.Array, params: PyTree) -> Counted:
    return Counted(config.env.initial(key, params), jnp.float32(0))


def _add_cost(config: _Limit, state: Counted, action: jax.Array, key: jax.Array, params: PyTree) -> Counted:
    after = config.env.transition(state.inner, action, key, params)
    return Counted(after, state.tally + config.env.cost(state.inner, action, after, params))


def _limited_reward(
    config: _Limit, state: Counted, action: jax.Array, after: Counted, params: PyTree
) -> Scalar:
    own: Scalar = config.env.reward(state.inner, action, after.inner, params)
    return own if config.reward is None else jnp.where(after.tally > config.limit, config.reward, own)


def _above_limit(config: _Limit, state: Counted, params: PyTree) -> jax.Array:
    return config.env.terminal(state.inner, params) | (state.tally > config.limit)


def _counting(env: FunctionalEnv, config: _Budget | _Limit) -> FunctionalEnv:
    """The environment on states that also hold a count, with its own functions on what is inside."""

    def inside(function: Any) -> Any:
        return None if function is None else Configured(_inside, function)

    return env._replace(
        observation=inside(env.observation),
        cost=inside(env.cost),
        terminal=inside(env.terminal),
        render=inside(env.render),
        info=inside(env.info),
        action_masks=inside(env.action_masks),
        own_reward=inside(env.own_reward or env.reward),
        tables=None,
    )


def _inside(function: Any, *args: Any) -> Any:
    return function(*(arg.inner if isinstance(arg, Counted) else arg for arg in args))
