"""A counter with known rewards, costs and keys stands for any environment."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.envs import autoreset
from spi_plugins.envs.base import FunctionalEnv
from spi_plugins.types import ActionSpec, ArraySpec


class Counter(NamedTuple):
    count: jax.Array
    noise: jax.Array


def counter(*, max_episode_steps: int | None = None) -> FunctionalEnv:
    """Count up by the action; terminal at params['end']; reward is the new count, cost the action."""
    spec = (
        ("count", ArraySpec(kind="box", shape=(1,), dtype="float32")),
        ("noise", ArraySpec(kind="box", shape=(), dtype="float32")),
    )
    return FunctionalEnv(
        observation_spec=spec,
        action_spec=ActionSpec(kind="discrete", nvec=(3,)),
        params={"end": jnp.int32(3)},
        initial=lambda key, params: Counter(jnp.int32(0), jax.random.uniform(key)),
        observation=lambda state, params: {
            "count": state.count.astype(jnp.float32)[None],
            "noise": state.noise,
        },
        transition=lambda state, action, key, params: Counter(state.count + action, jax.random.uniform(key)),
        reward=lambda state, action, after, params: after.count.astype(jnp.float32),
        cost=lambda state, action, after, params: action.astype(jnp.float32),
        terminal=lambda state, params: state.count >= params["end"],
        max_episode_steps=max_episode_steps,
    )


@pytest.fixture(params=["eager", "jit"])
def step(request):
    env = counter(max_episode_steps=4)
    function = functools.partial(autoreset.step, env)
    return function if request.param == "eager" else jax.jit(function)


PARAMS = {"end": jnp.int32(3)}
KEYS = jax.random.split(jax.random.key(7), 3)


def start(env: FunctionalEnv) -> autoreset.VectorState:
    return jax.jit(functools.partial(autoreset.reset, env))(PARAMS, KEYS)[0]


def test_an_episode_by_hand(step):
    state = start(counter())
    # Environment 0 adds 1 a step and is terminal at 3; 1 adds 2 and ends at 4; 2 stays at 0 until step 4.
    expected = [
        # reward, cost, terminated, truncated, return, length, cost so far, next count
        ([1, 2, 0], [1, 2, 0], [0, 0, 0], [0, 0, 0], [1, 2, 0], [1, 1, 1], [1, 2, 0], [1, 2, 0]),
        ([2, 4, 0], [1, 2, 0], [0, 1, 0], [0, 0, 0], [3, 6, 0], [2, 2, 2], [2, 4, 0], [2, 0, 0]),
        ([3, 2, 0], [1, 2, 0], [1, 0, 0], [0, 0, 0], [6, 2, 0], [3, 1, 3], [3, 2, 0], [0, 2, 0]),
        ([1, 4, 0], [1, 2, 0], [0, 1, 0], [0, 0, 1], [1, 6, 0], [1, 2, 4], [1, 4, 0], [1, 0, 0]),
    ]
    for reward, cost, terminated, truncated, total, length, total_cost, count in expected:
        state, out = step(PARAMS, state, jnp.array([1, 2, 0]))
        np.testing.assert_array_equal(out.reward, reward)
        np.testing.assert_array_equal(out.cost, cost)
        np.testing.assert_array_equal(out.terminated, terminated)
        np.testing.assert_array_equal(out.truncated, truncated)
        np.testing.assert_array_equal(out.episode_return, total)
        np.testing.assert_array_equal(out.episode_length, length)
        np.testing.assert_array_equal(out.episode_cost, total_cost)
        np.testing.assert_array_equal(out.obs["count"][:, 0], count)
        np.testing.assert_array_equal(out.final_obs["count"][:, 0], reward)
        np.testing.assert_array_equal(state.env.count, count)


def test_a_terminal_state_at_the_time_limit_is_not_truncated():
    env = counter(max_episode_steps=3)
    state = start(env)
    for _ in range(3):
        state, out = autoreset.step(env, PARAMS, state, jnp.array([1, 1, 0]))
    np.testing.assert_array_equal(out.terminated, [True, True, False])
    np.testing.assert_array_equal(out.truncated, [False, False, True])


def test_without_a_limit_nothing_is_truncated():
    env = counter()
    state = start(env)
    step = jax.jit(functools.partial(autoreset.step, env))
    for _ in range(50):
        state, out = step(PARAMS, state, jnp.zeros(3, jnp.int32))
    assert not out.truncated.any()
    np.testing.assert_array_equal(out.episode_length, [50, 50, 50])


def actions(steps: int) -> jax.Array:
    return jax.random.randint(jax.random.key(1), (steps, 3), 0, 3)


def assert_trees_equal(actual, expected):
    def assert_equal(a, b):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)

    jax.tree.map(assert_equal, actual, expected)


def test_many_environments_equal_single_ones_with_the_same_keys():
    env = counter(max_episode_steps=4)
    reset = jax.jit(functools.partial(autoreset.reset, env))
    many, obs = reset(PARAMS, KEYS)
    singles = [reset(PARAMS, KEYS[i : i + 1]) for i in range(3)]
    step = jax.jit(functools.partial(autoreset.step, env))
    for i in range(3):
        assert_trees_equal(jax.tree.map(lambda x, i=i: x[i : i + 1], obs), singles[i][1])
    states = [state for state, _ in singles]
    for action in actions(20):
        many, out = step(PARAMS, many, action)
        for i in range(3):
            states[i], single = step(PARAMS, states[i], action[i : i + 1])
            assert_trees_equal(jax.tree.map(lambda x, i=i: x[i : i + 1], out), single)


def rows(mask, new, old):
    return jax.vmap(lambda m, a, b: jax.tree.map(functools.partial(jnp.where, m), a, b))(mask, new, old)


def test_all_three_ways_to_reset_see_the_same_episodes():
    env = counter(max_episode_steps=4)
    step, step_without_reset, step_or_reset, reset_where = (
        jax.jit(functools.partial(function, env, PARAMS))
        for function in (
            autoreset.step,
            autoreset.step_without_reset,
            autoreset.step_or_reset,
            autoreset.reset_where,
        )
    )
    same = manual = following = start(env)
    for action in actions(20):
        same, out = step(same, action)
        manual, plain = step_without_reset(manual, action)
        assert_trees_equal(plain.obs, plain.final_obs)
        assert_trees_equal(out._replace(obs=out.final_obs), plain)
        done = plain.terminated | plain.truncated
        manual, obs = reset_where(manual, done)
        assert_trees_equal(out.obs, obs)
        assert_trees_equal(same, manual)

        following, late = step_or_reset(following, action, jnp.zeros(3, bool))
        assert_trees_equal(late, plain)
        if done.any():
            still = following
            following, row = step_or_reset(following, action, done)
            np.testing.assert_array_equal(jnp.where(done, row.reward, 0), 0)
            np.testing.assert_array_equal(jnp.where(done, row.cost, 0), 0)
            assert not (done & (row.terminated | row.truncated)).any()
            np.testing.assert_array_equal(jnp.where(done, row.episode_length, 0), 0)
            assert_trees_equal(rows(done, row.obs, out.obs), out.obs)
            # Undo what the other rows did, to go on in step with the others.
            following = rows(done, following, still)
        assert_trees_equal(same, following)


def test_parameters_change_without_a_retrace():
    traces = []
    env = counter()
    env = env._replace(terminal=lambda state, params: traces.append(1) or state.count >= params["end"])
    step = jax.jit(functools.partial(autoreset.step, env))
    state = start(env)
    _, early = step({"end": jnp.int32(1)}, state, jnp.ones(3, jnp.int32))
    _, late = step({"end": jnp.int32(2)}, state, jnp.ones(3, jnp.int32))
    assert early.terminated.all()
    assert not late.terminated.any()
    assert len(traces) == 1


def test_a_rollout_scans():
    env = counter(max_episode_steps=4)

    @jax.jit
    def rollout(state, table):
        return jax.lax.scan(functools.partial(autoreset.step, env, PARAMS), state, table)

    table = actions(8)
    last, rows = rollout(start(env), table)
    state = start(env)
    step = jax.jit(functools.partial(autoreset.step, env))
    for t, action in enumerate(table):
        state, out = step(PARAMS, state, action)
        assert_trees_equal(jax.tree.map(lambda x, t=t: x[t], rows), out)
    assert_trees_equal(last, state)
