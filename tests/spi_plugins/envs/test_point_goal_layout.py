import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.envs.point_goal import make_point_goal
from spi_plugins.envs.point_goal_layout import draw_goal

ARENAS = {level: make_point_goal(level) for level in (0, 1, 2)}
ARENA = ARENAS[1]
HAZARDS = {0: 0, 1: 10, 2: 24}
HALF_SIDE = {0: 2.25, 1: 2.25, 2: 3.15}
KEY = jax.random.key(0)


@functools.cache
def starts(level, episodes=400):
    env = ARENAS[level]
    begin = jax.jit(jax.vmap(lambda key: env.initial(key, env.params)))
    return jax.tree.map(np.asarray, begin(jax.random.split(KEY, episodes)))


def apart(one, other):
    """Distances between all points of ``[B, N, 2]`` and ``[B, M, 2]``."""
    return np.linalg.norm(one[:, :, None] - other[:, None, :], axis=-1)


@pytest.mark.parametrize("level", ARENAS)
def test_an_episode_starts_in_an_arena_in_which_nothing_overlaps(level):
    state = starts(level)
    assert state.hazards.shape == (400, HAZARDS[level], 2)
    side = HALF_SIDE[level]
    between = apart(state.hazards, state.hazards) + 9 * np.eye(HAZARDS[level])
    assert between.min(initial=9) >= 2 * 0.3 + 0.1 - 1e-5
    assert apart(state.hazards, state.goal[:, None]).min(initial=9) >= 0.3 + 0.3
    assert apart(state.hazards, state.position[:, None]).min(initial=9) > 0.3 + 0.05
    assert np.abs(state.hazards).max(initial=0) <= side - 0.3
    assert np.abs(state.goal).max() <= side - 0.3
    assert np.abs(state.position).max() <= side
    # More than a cell and a half to the cell of the goal, which lies at most 0.15 * sqrt(2) from its center.
    assert apart(state.goal[:, None], state.position[:, None]).min() > 1.35 - 0.15
    np.testing.assert_array_equal(state.velocity, 0)
    np.testing.assert_array_equal(state.spin, 0)


@pytest.mark.parametrize("level", ARENAS)
def test_everything_starts_everywhere(level):
    state = starts(level)
    side = HALF_SIDE[level]
    for places in (state.position, state.goal, state.hazards.reshape(-1, 2)):
        if len(places):
            np.testing.assert_allclose(places.mean(axis=0), 0, atol=0.15 * side)
            assert (np.abs(places).max(axis=0) > 0.7 * side).all()
    assert np.abs(np.exp(1j * state.heading).mean()) < 0.12
    # A share of hazards per cell: each is as likely as any other.
    if level:
        cells = np.floor((state.hazards + side) / 0.9).astype(int) @ [1, round(2 * side / 0.9)]
        shares = np.bincount(cells.ravel(), minlength=state.free.shape[1]) / 400
        np.testing.assert_allclose(shares, HAZARDS[level] / state.free.shape[1], atol=0.12)


@pytest.mark.parametrize("level", [1, 2])
def test_free_cells_are_those_without_a_hazard(level):
    state, width = starts(level), 5 if level == 1 else 7
    cells = np.floor((state.hazards + HALF_SIDE[level]) / 0.9).astype(int) @ [1, width]
    expected = np.ones((400, width**2), bool)
    np.put_along_axis(expected, cells, False, axis=1)
    np.testing.assert_array_equal(state.free, expected)


def test_layouts_follow_from_the_key():
    again = jax.jit(ARENA.initial)(jax.random.split(KEY, 400)[7], ARENA.params)
    for mine, theirs in zip(jax.tree.leaves(again), jax.tree.leaves(starts(1)), strict=True):
        np.testing.assert_allclose(mine, theirs[7], atol=1e-6)
    assert len(np.unique(starts(1).hazards[:, 0, 0])) == 400


def test_a_new_goal_lies_in_a_free_cell_away_from_the_robot():
    config = ARENA.initial.config
    free = np.zeros(25, bool)
    # The cells of the bottom row, whose centers are -1.8, -0.9, 0, 0.9 and 1.8 in x; the robot is in the first.
    free[:5] = True
    draw = jax.jit(jax.vmap(functools.partial(draw_goal, config), (0, None, None)))
    goals = draw(jax.random.split(KEY, 300), jnp.array([-1.8, -1.8]), free)
    columns = np.round(np.asarray(goals[:, 0]) / 0.9)
    np.testing.assert_allclose(
        np.bincount(columns.astype(int) + 2, minlength=5) / 300, [0, 0, 1 / 3, 1 / 3, 1 / 3], atol=0.1
    )
    np.testing.assert_allclose(goals[:, 1], -1.8, atol=0.1 + 1e-6)
    # With no cell far enough, a near one is taken rather than a hazard's.
    free[1:] = False
    free[1] = True
    goals = draw(jax.random.split(KEY, 50), jnp.array([-1.8, -1.8]), free)
    assert set(np.round(np.asarray(goals[:, 0]) / 0.9).astype(int)) == {-2, -1}


def test_an_arena_may_be_almost_full_of_hazards():
    env = make_point_goal(0, num_hazards=21)
    state = jax.jit(env.initial)(KEY, env.params)
    assert state.free.sum() == 4
    assert np.linalg.norm(np.asarray(state.hazards) - np.asarray(state.goal), axis=1).min() > 0.6
