import functools

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.envs import autoreset
from spi_plugins.envs.cartpole import CartPoleParams, make_cartpole

ENV = make_cartpole()


@functools.partial(jax.jit, static_argnames=())
def transition(state, action):
    after = ENV.transition(state, action, jax.random.key(0), ENV.params)
    return after, ENV.terminal(after, ENV.params), ENV.reward(state, action, after, ENV.params)


def test_each_step_is_gymnasiums_from_the_same_state():
    twin = gymnasium.make("CartPole-v1").unwrapped
    rng = np.random.default_rng(0)
    ends = 0
    for episode in range(20):
        twin.reset(seed=episode)
        terminated = False
        while not terminated:
            action = int(rng.integers(2))
            state = jnp.asarray(twin.state, jnp.float32)
            expected, reward, terminated, _, _ = twin.step(action)
            after, ended, ours = transition(state, action)
            np.testing.assert_allclose(ENV.observation(after, ENV.params), expected, rtol=1e-5, atol=1e-6)
            assert bool(ended) == terminated
            assert float(ours) == reward == 1.0
        ends += 1
    assert ends == 20


def test_a_whole_episode_stays_beside_gymnasiums():
    twin = gymnasium.make("CartPole-v1").unwrapped
    twin.reset(seed=3)
    state = jnp.asarray(twin.state, jnp.float32)
    for t in range(60):
        # A simple controller, so that the episode is long.
        action = int(twin.state[2] + 0.5 * twin.state[3] > 0)
        expected, _, terminated, _, _ = twin.step(action)
        state, ended, _ = transition(state, action)
        np.testing.assert_allclose(state, expected, atol=1e-4)
        assert bool(ended) == terminated, t


@pytest.mark.parametrize(
    ("state", "terminal"),
    [
        ([2.39, 0, 0, 0], False),
        ([2.41, 0, 0, 0], True),
        ([-2.41, 0, 0, 0], True),
        ([0, 0, 0.2094, 0], False),
        ([0, 0, 0.2095, 0], True),
        ([0, 0, -0.2095, 0], True),
        ([0, 9, 0, 9], False),
    ],
)
def test_the_thresholds_are_2_4_meters_and_12_degrees(state, terminal):
    assert bool(ENV.terminal(jnp.asarray(state, jnp.float32), ENV.params)) is terminal


def test_an_episode_starts_within_5_hundredths():
    _, obs = autoreset.reset(ENV, ENV.params, jax.random.split(jax.random.key(0), 500))
    assert float(jnp.abs(obs).max()) <= 0.05
    np.testing.assert_allclose(jnp.abs(obs).mean(axis=0), 0.025, atol=0.003)


def test_no_observation_leaves_the_declared_bounds_under_the_wildest_pushes():
    state, _ = autoreset.reset(ENV, ENV.params, jax.random.split(jax.random.key(0), 64))
    # Constant pushes reach the highest speeds before the limits; random ones as a control.
    signs = jnp.tile(jnp.array([0, 1]), 32)

    def body(state, key):
        noise = jax.random.bernoulli(key, 0.2, (64,)).astype(jnp.int32)
        action = jnp.where(jnp.arange(64) < 32, signs, (signs + noise) % 2)
        state, out = autoreset.step(ENV, ENV.params, state, action)
        return state, jnp.abs(out.final_obs).max()

    _, largest = jax.jit(lambda s: jax.lax.scan(body, s, jax.random.split(jax.random.key(1), 500)))(state)
    assert float(largest.max()) < ENV.observation_spec.high


def test_the_pole_falls_more_slowly_on_the_moon():
    def steps(params):
        state = jnp.array([0.0, 0.0, 0.05, 0.0])
        for t in range(500):
            state = ENV.transition(state, jnp.int32(t % 2), jax.random.key(0), params)
            if ENV.terminal(state, params):
                return t
        return 500

    assert steps(CartPoleParams(gravity=1.6)) > steps(CartPoleParams()) + 10


def test_the_time_limit_is_an_argument():
    assert make_cartpole(max_episode_steps=7).max_episode_steps == 7
    with pytest.raises(ValueError, match="max_episode_steps must be an integer of at least 1, got 0"):
        make_cartpole(max_episode_steps=0)


def test_two_equal_environments_share_one_compilation():
    assert make_cartpole() == make_cartpole()
    assert hash(make_cartpole()) == hash(make_cartpole())


def test_the_frame_shows_the_pole_leaning_to_the_side_of_the_angle():
    pole = np.array([202, 152, 101], np.uint8)
    for angle in (-0.2, 0.2):
        frame = ENV.render(np.array([0.0, 0.0, angle, 0.0]), ENV.params)
        assert frame.shape == (200, 300, 3)
        assert frame.dtype == np.uint8
        columns = np.flatnonzero((frame[110] == pole).all(axis=-1))
        assert np.sign(columns.mean() - 150) == np.sign(angle)
