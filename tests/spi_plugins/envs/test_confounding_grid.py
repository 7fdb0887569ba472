import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.envs import autoreset
from spi_plugins.envs.confounding_grid import make_confounding_grid
from spi_plugins.envs.confounding_grid_exact import all_observations, exact_model

UP, DOWN, LEFT, RIGHT = range(4)
# States of the default map, row by row: 0 G; 1-4 >, 5 !, 6 W; 7 I, 8 @, 9 F; 10-13 >, 14 !, 15 W.
G, TOP, W, START, FORK, F, BOTTOM, LOWER_W = 0, 5, 6, 7, 8, 9, 14, 15
ENV = make_confounding_grid()
# The map in gray as the published code has it, without the agent.
GRAY = np.array(
    [
        [50, 50, 50, 50, 50, 220, 50, 50],
        [50, 100, 100, 100, 100, 100, 200, 50],
        [120, 180, 50, 50, 50, 220, 50, 50],
        [50, 100, 100, 100, 100, 100, 200, 50],
        [50, 50, 50, 50, 50, 50, 50, 50],
    ],
    np.uint8,
)
PLACES = [(0, 5), *((1, c) for c in range(1, 7)), (2, 0), (2, 1), (2, 5), *((3, c) for c in range(1, 7))]


def step(env, state, action, seed=0):
    state, action = jnp.int32(state), jnp.int32(action)
    after = env.transition(state, action, jax.random.key(seed), env.params)
    return int(after), float(env.reward(state, action, after, env.params))


@pytest.mark.parametrize(
    ("state", "action", "after", "reward"),
    [
        (START, RIGHT, FORK, 0.0),
        (START, UP, START, 0.0),
        (1, RIGHT, 2, 1.0),
        (4, RIGHT, TOP, 1.0),
        (4, UP, 4, 0.0),
        (2, LEFT, 2, 0.0),
        (TOP, RIGHT, W, 1.0),
        (TOP, UP, G, 5 / 0.99**5),
        (TOP, DOWN, TOP, 0.0),
        (13, RIGHT, BOTTOM, 1.0),
        (BOTTOM, RIGHT, LOWER_W, 1.0),
        (BOTTOM, UP, F, -1.8 / 0.2 * 5 / 0.99**5),
        (BOTTOM, LEFT, BOTTOM, 0.0),
        *((end, action, end, 0.0) for end in (G, W, F, LOWER_W) for action in range(4)),
    ],
)
def test_where_an_action_leads_and_what_it_pays(state, action, after, reward):
    assert step(ENV, state, action) == (after, pytest.approx(reward, rel=1e-6))


def test_the_ends_of_the_corridors_pay_what_the_published_numbers_say():
    assert step(ENV, TOP, UP)[1] == pytest.approx(5.258, abs=5e-4)
    assert step(ENV, BOTTOM, UP)[1] == pytest.approx(-47.32, abs=5e-3)


def test_only_the_three_kinds_of_ends_are_terminal():
    ends = [bool(ENV.terminal(jnp.int32(state), ENV.params)) for state in range(16)]
    assert np.flatnonzero(ends).tolist() == [G, W, F, LOWER_W]


def test_played_at_random_it_does_what_the_tables_say():
    n_envs, env, model = 256, make_confounding_grid(size=None, max_episode_steps=30), exact_model(ENV)

    def body(state, key):
        action = jax.random.randint(key, (n_envs,), 0, 4)
        after, out = autoreset.step(env, env.params, state, action)
        return after, (state.env, action, out.final_obs, out.reward, out.terminated)

    @jax.jit
    def run(key):
        state, _ = autoreset.reset(env, env.params, jax.random.split(key, n_envs))
        return jax.lax.scan(body, state, jax.random.split(jax.random.key(1), 250))[1]

    state, action, after, reward, terminated = (np.ravel(part) for part in run(jax.random.key(0)))
    np.testing.assert_allclose(reward, model.reward[state, action], rtol=1e-6)
    ends = np.isin(np.arange(16), [G, W, F, LOWER_W])
    np.testing.assert_array_equal(terminated, ends[after])

    counts = np.zeros((16, 4, 16))
    np.add.at(counts, (state, action, after), 1)
    visits = counts.sum(axis=2)
    assert not visits[ends].any()
    assert visits[~ends].min() > 20
    for s in np.flatnonzero(~ends):
        # Everything but the fork is sure; 4 deviations of a share of 0.2 among the visits there.
        tolerance = 4 * np.sqrt(0.16 / visits[FORK].min()) if s == FORK else 0.0
        np.testing.assert_allclose(counts[s] / visits[s, :, None], model.transition[s], atol=tolerance)
    assert visits[FORK].min() > 500


def test_the_step_limit_truncates_and_an_end_does_not():
    env = make_confounding_grid(n_path=2, max_episode_steps=4, size=None)
    step = jax.jit(functools.partial(autoreset.step, env))
    # I, @, >, ! takes three steps: the fourth reaches W for those who go right, and is one too many for others.
    state, _ = autoreset.reset(env, env.params, jax.random.split(jax.random.key(0), 2))
    for t in range(4):
        state, out = step(env.params, state, jnp.array([RIGHT, LEFT]))
        assert out.terminated.tolist() == [t == 3, False]
        assert out.truncated.tolist() == [False, t == 3]
    assert out.episode_return.tolist() == [2.0, 0.0]
    assert out.obs.tolist() == [4, 4]  # G, >, !, W, I: both start again
    assert int(out.final_obs[0]) in (3, 9)
    assert int(out.final_obs[1]) == 4


@pytest.mark.parametrize("state", range(16))
def test_the_image_is_the_map_with_a_white_agent_on_terminal_cells_too(state):
    board = GRAY.copy()
    board[PLACES[state]] = 255
    image = np.asarray(ENV.observation(jnp.int32(state), ENV.params))
    assert image.shape == (1, 84, 84)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image[0], jax.image.resize(board, (84, 84), "nearest"))


def test_at_a_multiple_of_the_cells_the_image_is_an_exact_enlargement():
    env = make_confounding_grid(size=40)
    image = np.asarray(env.observation(jnp.int32(TOP), env.params))[0]
    board = GRAY.copy()
    board[1, 5] = 255
    np.testing.assert_array_equal(image, np.kron(board, np.ones((8, 5), np.uint8)))


def test_the_smallest_image_shows_every_cell():
    env = make_confounding_grid(n_path=9, size=12)
    images = all_observations(env)
    assert len({image.tobytes() for image in images}) == 24
    assert (images == 255).any(axis=(1, 2, 3)).all()


def test_the_corridors_look_alike_but_for_the_agents_row():
    top, bottom = (np.asarray(ENV.observation(jnp.int32(s), ENV.params))[0] for s in (TOP, BOTTOM))
    differing = np.flatnonzero((top != bottom).any(axis=1))
    agents = np.flatnonzero((top == 255).any(axis=1) | (bottom == 255).any(axis=1))
    np.testing.assert_array_equal(differing, agents)


def test_without_a_size_the_state_itself_is_observed():
    env = make_confounding_grid(size=None)
    assert env.observation_spec.nvec == (16,)
    np.testing.assert_array_equal(all_observations(env), np.arange(16))


def test_a_rendered_frame_shows_the_agent_on_a_cell_whose_color_says_what_it_is():
    frame = ENV.render(np.int32(F), ENV.params)
    assert frame.shape == (200, 320, 3)
    assert frame.dtype == np.uint8
    cells = frame.reshape(5, 40, 8, 40, 3).transpose(0, 2, 1, 3, 4)
    np.testing.assert_array_equal(cells[2, 5, 20, 20], (250, 250, 250))
    corners = cells[:, :, 4, 4]
    red, green = (corners == (204, 62, 58)).all(-1), (corners == (64, 176, 96)).all(-1)
    assert (np.argwhere(red).tolist(), np.argwhere(green).tolist()) == ([[2, 5]], [[0, 5]])
    # Wall, corridor, !, start, fork, W, G, F: one color each, as many cells as the map has of them.
    colors, counts = np.unique(corners.reshape(-1, 3), axis=0, return_counts=True)
    assert len(colors) == 8
    assert sorted(counts.tolist()) == [1, 1, 1, 1, 2, 2, 8, 24]
    others = np.argwhere((cells == 250).all(-1).any(axis=(2, 3)))
    assert others.tolist() == [[2, 5]]


def test_grids_made_alike_are_equal_and_survive_pickling():
    env = make_confounding_grid(n_path=4)
    assert env == make_confounding_grid(n_path=4) == pickle.loads(pickle.dumps(env))
    assert hash(env) == hash(make_confounding_grid(n_path=4))
    assert env != make_confounding_grid(n_path=4, size=42)


def test_probability_and_discount_change_without_a_retrace():
    env = make_confounding_grid(size=None)
    step = jax.jit(functools.partial(autoreset.step, env))
    start, _ = autoreset.reset(env, env.params, jax.random.split(jax.random.key(0), 4))
    for epsilon, branch in ((0.0, 1), (1.0, 10)):
        params = env.params._replace(epsilon=epsilon)
        state, _ = step(params, start, jnp.full(4, RIGHT))
        _, out = step(params, state, jnp.full(4, DOWN))
        assert out.obs.tolist() == [branch] * 4
    assert step._cache_size() == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_path": 1}, "n_path must be an integer of at least 2, got 1"),
        ({"epsilon": 0.0}, r"epsilon must be a number above 0 and below 1, got 0\.0"),
        ({"epsilon": 1.0}, "epsilon must be a number above 0 and below 1"),
        ({"gamma": 1.0}, r"gamma must be a number above 0 and below 1, got 1\.0"),
        ({"gamma": float("nan")}, "gamma must be a number above 0 and below 1"),
        ({"n_path": 9, "size": 11}, "size must be an integer of at least 12, got 11"),
        ({"max_episode_steps": 0}, "max_episode_steps must be an integer of at least 1, got 0"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_confounding_grid(**arguments)
