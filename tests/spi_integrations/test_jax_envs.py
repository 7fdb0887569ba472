"""Environments of gymnax, pgx and Jumanji are what their packages make of them, and show it to everything of ours."""

import functools
import sys

import gymnasium
import gymnax
import jax
import jax.numpy as jnp
import jumanji
import numpy as np
import pgx
import pytest

import spi_plugins
from spi_integrations import brax_like, jax_envs
from spi_integrations import jumanji as jumanji_bridge
from spi_integrations.gymnax import as_gymnax
from spi_integrations.jax_families import JAX_FAMILIES
from spi_plugins import PPO
from spi_plugins.algorithms.compiled_collector import CompiledCollector
from spi_plugins.envs import autoreset
from spi_plugins.envs.cost_cartpole import make_cost_cartpole
from spi_plugins.errors import EnvironmentNotSupportedError, MissingDependencyError
from spi_plugins.testing import check_functional_env

SMALL = {"n_steps": 8, "batch_size": 16, "n_epochs": 1, "policy_kwargs": {"net_arch": [8]}, "seed": 0}


def far(observation, action, after):
    return jnp.abs(after[0])


@functools.cache
def made(name, **kwargs):
    return spi_plugins.make_env(name, **kwargs)


def roll(env, actions, seed=0):
    """One episode without resets: what each step returns, ``T`` rows of ``VectorStep``."""
    state, obs = autoreset.reset(env, env.params, jax.random.split(jax.random.key(seed), 1))

    def step(state, action):
        return autoreset.step_without_reset(env, env.params, state, action[None])

    _, out = jax.lax.scan(step, state, actions)
    return jax.tree.map(lambda rows: np.asarray(rows)[:, 0], out), jax.tree.map(lambda x: x[0], obs)


def keys_of(seed, n_steps):
    """The keys that ``autoreset`` gives to the first episode of the first copy, and to its steps."""
    chain, first = jax.random.split(jax.random.split(jax.random.key(seed), 1)[0])
    steps = []
    for _ in range(n_steps):
        chain, key = jax.random.split(chain)
        steps.append(key)
    return first, jnp.stack(steps) if steps else None


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("gymnax:CartPole-v1", {}),
        ("pgx:minatar-breakout", {}),
        pytest.param("pgx:2048", {}, marks=pytest.mark.slow),
        ("jumanji:Maze-v0", {"time_limit": 7}),
    ],
)
def test_the_contract_of_functional_environments_holds(name, kwargs):
    check_functional_env(made(name, **kwargs), num_steps=4)


def test_an_episode_of_gymnax_is_its_own():
    actions = jnp.asarray([1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1])
    out, obs = roll(made("gymnax:CartPole-v1"), actions)
    env, params = gymnax.make("CartPole-v1")
    first, keys = keys_of(0, len(actions))
    own, state = env.reset_env(first, params)
    np.testing.assert_array_equal(obs, own)

    def step(state, inputs):
        own, state, reward, terminated, _ = env.step_env(inputs[1], state, inputs[0], params)
        return state, (own, reward, terminated)

    own, reward, terminated = jax.lax.scan(step, state, (actions, keys))[1]
    np.testing.assert_allclose(out.obs, own, rtol=1e-6)
    np.testing.assert_array_equal(out.reward, reward)
    np.testing.assert_array_equal(out.terminated, terminated)
    assert out.terminated.any()
    assert not out.truncated.any()


def test_gymnaxs_time_limit_truncates_and_is_no_terminal_state():
    out, _ = roll(made("gymnax:CartPole-v1", max_steps_in_episode=3), jnp.asarray([0, 1, 0]))
    assert out.truncated.tolist() == [False, False, True]
    assert not out.terminated.any()


def test_an_episode_of_pgx_is_its_own():
    actions = jnp.asarray(np.random.default_rng(0).integers(0, 3, 40))
    out, obs = roll(made("pgx:minatar-breakout"), actions)
    env = pgx.make("minatar-breakout")
    first, keys = keys_of(0, len(actions))
    state = env.init(first)
    np.testing.assert_array_equal(obs, state.observation.astype(np.float32))

    def step(state, inputs):
        state = env.step(state, *inputs)
        return state, (state.observation, state.rewards[0], state.terminated)

    own, reward, terminated = jax.lax.scan(step, state, (actions, keys))[1]
    np.testing.assert_array_equal(out.obs, own.astype(np.float32))
    np.testing.assert_array_equal(out.reward, reward)
    np.testing.assert_array_equal(out.terminated, terminated)
    assert out.terminated.any()


def test_jumanjis_time_limit_truncates_though_jumanji_ends_the_episode_with_a_discount_of_0():
    env = jumanji.make("Maze-v0", time_limit=4)
    first, _ = keys_of(0, 0)
    state, timestep = env.reset(first)
    # Into a wall, which leaves the agent where it is.
    blocked = jnp.full(4, int(np.flatnonzero(~np.asarray(timestep.observation.action_mask))[0]))
    for action in blocked:
        state, timestep = env.step(state, action)
    assert timestep.last()
    assert timestep.discount == 0
    out, obs = roll(made("jumanji:Maze-v0", time_limit=4), blocked)
    assert out.truncated.tolist() == [False, False, False, True]
    assert not out.terminated.any()
    assert "action_mask" not in obs
    np.testing.assert_array_equal(out.obs["agent_position/row"][-1], timestep.observation.agent_position.row)


def test_legal_actions_are_the_masks():
    env = made("pgx:2048")
    state, _ = autoreset.reset(env, env.params, jax.random.split(jax.random.key(3), 1))
    own = pgx.make("2048").init(keys_of(3, 0)[0])
    np.testing.assert_array_equal(autoreset.action_masks(env, env.params, state)[0], own.legal_action_mask)


def test_where_jumanji_allows_nothing_everything_is_allowed():
    for mask, allowed in (([True, False], [True, False]), ([False, False], [True, True])):
        inner = jumanji_bridge._Counted((None, jnp.asarray(mask)), jnp.int32(0))
        assert jumanji_bridge._mask(inner).tolist() == allowed


def test_environments_are_equal_if_their_arguments_are():
    def made_with(**kwargs):
        return jax_envs._Source(len, "id", jax_envs._text(kwargs), kwargs)

    assert made_with(a=1, b=[2.0, "x"]) == made_with(b=[2.0, "x"], a=1)
    assert made_with(a=1) != made_with(a=2)
    # Their texts are the same.
    long, other = np.zeros(5000), np.zeros(5000)
    other[2500] = 1
    assert repr(long) == repr(other)
    assert made_with(a=long) != made_with(a=other)
    assert made_with(a=long) == made_with(a=long)


def test_a_cost_function_gives_costs():
    env = made("gymnax:Pendulum-v1", cost_fn=far)
    out, _ = roll(env, jnp.zeros((3, 1)))
    np.testing.assert_allclose(out.cost, np.abs(out.obs[:, 0]))


def test_training_is_compiled_for_an_id():
    model = PPO("MlpPolicy", "gymnax:CartPole-v1", n_envs=4, **SMALL)
    model.learn(64)
    assert type(model._collector) is CompiledCollector


def test_gymnasium_makes_them_by_an_id_without_a_colon():
    single = gymnasium.make("spi/gymnax.CartPole-v1")
    several = gymnasium.make_vec("spi/gymnax.CartPole-v1", num_envs=2)
    obs, _ = single.reset(seed=1)
    both, _ = several.reset(seed=1)
    np.testing.assert_array_equal(both[0], obs)
    assert single.step(1)[4]["cost"] == 0.0


def test_all_listed_ids_exist():
    for family, known in (
        ("gymnax", gymnax.registered_envs),
        ("pgx", pgx.available_envs()),
        ("jumanji", jumanji.registered_environments()),
    ):
        assert set(JAX_FAMILIES[family][1]) <= set(known)


def test_mistakes_are_named(monkeypatch):
    with pytest.raises(ValueError, match=r"'CartPole-v2' is unknown to gymnax\. Did you mean 'CartPole-v1'"):
        made("gymnax:CartPole-v2")
    with pytest.raises(EnvironmentNotSupportedError, match="'chess' has 2 players"):
        made("pgx:chess")
    with pytest.raises(EnvironmentNotSupportedError, match="rewards 10 agents"):
        made("jumanji:Connector-v3")
    with pytest.raises(ValueError, match="max_episode_steps must be at least 1, got 0"):
        made("gymnax:CartPole-v1", max_episode_steps=0)
    monkeypatch.setitem(sys.modules, "pgx", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'spi-plugins\[pgx\]'"):
        made("pgx:minatar-freeway")


def test_a_functional_environment_is_shown_to_agents_of_gymnax():
    env = make_cost_cartpole(max_episode_steps=6)
    shown, params = as_gymnax(env)
    obs, state = shown.reset(jax.random.key(0), params)
    rows = [shown.step(jax.random.key(1), state, jnp.int32(1), params)]
    for _ in range(5):
        rows.append(shown.step(jax.random.key(1), rows[-1][1], jnp.int32(1), params))
    inner, action = env.initial(jax.random.key(0), env.params), jnp.int32(1)
    np.testing.assert_array_equal(obs, env.observation(inner, env.params))
    for _, _, reward, terminated, _, info in rows:
        after = env.transition(inner, action, jax.random.key(1), env.params)
        np.testing.assert_allclose(
            info["final_observation"], env.observation(after, env.params), rtol=1e-5, atol=1e-6
        )
        assert reward == env.reward(inner, action, after, env.params)
        assert info["cost"] == env.cost(inner, action, after, env.params)
        assert terminated == env.terminal(after, env.params)
        inner = after
    assert [bool(row[4]) for row in rows] == [False] * 5 + [True]
    assert shown.action_space(params).n == shown.num_actions == 2
    assert shown.observation_space(params).shape == (4,)


def test_robots_without_actuators_take_actions_between_minus_one_and_one():
    class Sys:
        class actuator:  # noqa: N801
            ctrl_range = np.zeros((0, 2))

    class Env:
        sys, action_size = Sys, 2

    np.testing.assert_array_equal(brax_like.control_range(Env), [[-1, 1], [-1, 1]])
