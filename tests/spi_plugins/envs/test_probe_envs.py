import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.envs import autoreset
from spi_plugins.envs.probe import PROBES, make_probe

NUM = 512


def play(kind, policy, steps=1):
    """One row of results a step, from 512 environments under ``policy(obs, key) -> action``."""
    env = make_probe(kind)

    def body(carry, key):
        state, obs = carry
        state, out = autoreset.step(env, env.params, state, policy(obs, key))
        return (state, out.obs), (obs, out)

    @jax.jit
    def run(key):
        keys = jax.random.split(key, NUM)
        return jax.lax.scan(body, autoreset.reset(env, env.params, keys), jax.random.split(key, steps))[1]

    rows = jax.tree.map(np.asarray, run(jax.random.key(0)))
    return [jax.tree.map(lambda x, t=t: x[t], rows) for t in range(steps)]


def always(action):
    return lambda obs, key: jnp.full(NUM, action, jnp.int32)


def coin(obs, key):
    return jax.random.randint(key, (NUM,), 0, 2)


def test_constant_reward():
    [(obs, out)] = play("constant_reward", coin)
    np.testing.assert_array_equal(obs, 0)
    np.testing.assert_array_equal(out.reward, 1)
    assert out.terminated.all()


def test_observation_reward():
    [(obs, out)] = play("observation_reward", coin)
    np.testing.assert_array_equal(out.reward, obs[:, 0])
    assert set(np.unique(obs)) == {-1, 1}
    assert abs(float(obs.mean())) < 0.15


def test_two_steps():
    rows = play("two_steps", coin, steps=4)
    for t, (obs, out) in enumerate(rows):
        np.testing.assert_array_equal(obs, t % 2)
        np.testing.assert_array_equal(out.reward, t % 2)
        np.testing.assert_array_equal(out.terminated, bool(t % 2))


def test_action_matters():
    [(_, out)] = play("action_matters", always(1))
    np.testing.assert_array_equal(out.reward, 1)
    [(_, out)] = play("action_matters", always(0))
    np.testing.assert_array_equal(out.reward, -1)


def test_action_depends_on_observation():
    [(_, out)] = play("action_depends_on_observation", lambda obs, _: (obs[:, 0] > 0).astype(jnp.int32))
    np.testing.assert_array_equal(out.reward, 1)
    [(_, out)] = play("action_depends_on_observation", always(1))
    assert abs(float(out.reward.mean())) < 0.15


def test_box_target():
    [(_, out)] = play("box_target", lambda obs, _: obs)
    np.testing.assert_array_equal(out.reward, 0)
    [(_, out)] = play("box_target", lambda obs, key: jax.random.uniform(key, (NUM, 1), minval=-1, maxval=1))
    # E(a - o)^2 = Var a + Var o = 2/3 for two uniforms on [-1, 1]
    assert float(out.reward.mean()) == pytest.approx(-2 / 3, abs=0.1)


def test_time_limit_truncates_one_kind_of_episode_and_terminates_the_other():
    rows = play("time_limit", coin, steps=4)
    first, last = rows[0][1], rows[-1][1]
    short = rows[0][0][:, 0] > 0
    np.testing.assert_array_equal(first.terminated, short)
    assert not first.truncated.any()
    long = np.stack([obs[:, 0] < 0 for obs, _ in rows]).all(axis=0)
    assert long.any()
    assert last.truncated[long].all()
    assert not last.terminated[long].any()
    np.testing.assert_array_equal(last.episode_length[long], 4)
    np.testing.assert_array_equal(last.episode_return[long], 4)
    assert all((out.reward == 1).all() for _, out in rows)


def test_image_side():
    def policy(obs, _):
        assert obs.dtype == jnp.uint8
        return (obs[:, 0, -1, 0] == 255).astype(jnp.int32)

    [(obs, out)] = play("image_side", policy)
    np.testing.assert_array_equal(out.reward, 1)
    np.testing.assert_array_equal(obs.mean(axis=(1, 2, 3)), 127.5)


def test_dict_rule_needs_both_entries():
    [(_, out)] = play("dict_rule", lambda obs, _: ((obs["signal"][:, 0] > 0) ^ obs["rule"]).astype(jnp.int32))
    np.testing.assert_array_equal(out.reward, 1)
    [(_, out)] = play("dict_rule", lambda obs, _: (obs["signal"][:, 0] > 0).astype(jnp.int32))
    assert abs(float(out.reward.mean())) < 0.15
    [(_, out)] = play("dict_rule", lambda obs, _: obs["rule"])
    assert abs(float(out.reward.mean())) < 0.15


def test_cost_conflict():
    [(_, out)] = play("cost_conflict", always(1))
    np.testing.assert_array_equal((out.reward, out.cost), np.ones((2, NUM)))
    [(_, out)] = play("cost_conflict", always(0))
    np.testing.assert_array_equal(out.reward, 0.5)
    np.testing.assert_array_equal(out.cost, 0)


@pytest.mark.parametrize("kind", PROBES)
def test_observations_are_as_declared(kind):
    env = make_probe(kind)
    _, obs = jax.jit(functools.partial(autoreset.reset, env))(env.params, KEYS)
    spec = env.observation_spec if isinstance(env.observation_spec, tuple) else (("", env.observation_spec),)
    parts = obs if isinstance(obs, dict) else {"": obs}
    assert list(parts) == [key for key, _ in spec]
    for key, part in spec:
        assert parts[key].shape == (8, *part.shape)
        assert parts[key].dtype == part.dtype


KEYS = jax.random.split(jax.random.key(0), 8)


@pytest.mark.parametrize("kind", PROBES)
def test_a_probe_is_the_same_when_made_again_or_pickled(kind):
    env = make_probe(kind)
    assert env == make_probe(kind) == pickle.loads(pickle.dumps(env))


def test_an_unknown_probe_is_refused_by_name():
    with pytest.raises(ValueError, match=r"constant_reward, .*got 'constant'"):
        make_probe("constant")
