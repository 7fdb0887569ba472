import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.envs import autoreset
from spi_plugins.envs.cartpole import make_cartpole
from spi_plugins.envs.cost_cartpole import make_cost_cartpole

ENV = make_cost_cartpole()


@pytest.mark.parametrize(
    ("position", "expected"), [(0.0, 0.0), (0.19, 0.0), (0.21, 1.0), (-0.19, 0.0), (-0.21, 1.0), (2.5, 1.0)]
)
def test_a_step_costs_one_where_it_ends_beyond_the_threshold(position, expected):
    before, after = jnp.array([1.0, 0.0, 0.0, 0.0]), jnp.array([position, 5.0, 0.1, 5.0])
    cost = ENV.cost(before, jnp.int32(1), after, ENV.params)
    assert float(cost) == expected
    assert cost.dtype == np.float32


def test_all_but_the_cost_is_cart_poles():
    plain = make_cartpole()
    differing = {name for name in plain._fields if getattr(plain, name) != getattr(ENV, name)}
    assert differing == {"cost", "render", "name"}


def test_costs_add_up_along_episodes():
    env = make_cost_cartpole(0.05)
    reset = jax.jit(functools.partial(autoreset.reset, env))
    state, _ = reset(env.params, jax.random.split(jax.random.key(0), 8))
    step = jax.jit(functools.partial(autoreset.step, env))
    total, ends = np.zeros(8), 0
    for t in range(60):
        state, out = step(env.params, state, jnp.full(8, t % 3 > 0, jnp.int32))
        expected = np.abs(np.asarray(out.final_obs[:, 0])) > 0.05
        np.testing.assert_array_equal(out.cost, expected)
        total += expected
        np.testing.assert_array_equal(out.episode_cost, total)
        done = np.asarray(out.terminated)
        total[done] = 0
        ends += done.sum()
    assert ends > 8


def test_the_frame_shades_the_costly_part_of_the_track():
    state = np.array([0.5, 0.0, 0.0, 0.0])
    frame, plain = ENV.render(state, ENV.params), make_cartpole().render(state, ENV.params)
    # 300 pixels are 4.8 m: 12.5 of them the threshold.
    shaded = (frame[10] == (255, 214, 214)).all(axis=-1)
    np.testing.assert_array_equal(np.flatnonzero(~shaded), np.arange(138, 163))
    ink = (plain != 255).any(axis=-1)
    np.testing.assert_array_equal(frame[ink], plain[ink])


def test_equal_arguments_make_equal_environments():
    env = make_cost_cartpole(1.0)
    assert env == make_cost_cartpole(1.0) == pickle.loads(pickle.dumps(env))
    assert env != ENV
    assert make_cost_cartpole(max_episode_steps=9).max_episode_steps == 9


@pytest.mark.parametrize("threshold", [0.0, -0.5, 2.4, float("nan")])
def test_a_threshold_off_the_track_is_refused(threshold):
    with pytest.raises(ValueError, match=r"threshold must be a number above 0 and below 2\.4, got"):
        make_cost_cartpole(threshold)
    with pytest.raises(ValueError, match="max_episode_steps must be an integer of at least 1"):
        make_cost_cartpole(max_episode_steps=0)
