import functools
import pickle
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.envs import autoreset
from spi_plugins.envs.point_goal import PointGoalState, make_point_goal

ARENAS = {level: make_point_goal(level) for level in (0, 1, 2)}
HAZARDS = {0: 0, 1: 10, 2: 24}
HALF_SIDE = {0: 2.25, 1: 2.25, 2: 3.15}
ARENA = ARENAS[1]
KEY = jax.random.key(0)


def arena(position=(0.0, 0.0), goal=(1.8, 1.8), hazards=(), heading=0.0, velocity=(0.0, 0.0), spin=0.0):
    """One state of level 1's arena with the hazards that a test needs, the others far outside."""
    places = np.full((10, 2), 50.0, np.float32)
    places[: len(hazards)] = np.reshape(hazards, (-1, 2))
    return PointGoalState(
        position=jnp.asarray(position, jnp.float32),
        velocity=jnp.asarray(velocity, jnp.float32),
        heading=jnp.float32(heading),
        spin=jnp.float32(spin),
        goal=jnp.asarray(goal, jnp.float32),
        hazards=jnp.asarray(places),
        free=jnp.ones(25, bool),
    )


@jax.jit
def step(state, action, key=KEY, params=ARENA.params):
    after = ARENA.transition(state, action, key, params)
    return after, ARENA.reward(state, action, after, params), ARENA.cost(state, action, after, params)


@jax.jit
def observe(state):
    return ARENA.observation(state, ARENA.params)


# Motion.


def reference_motion(position, velocity, heading, spin, action):
    """The equations of the docstring in float64: lags of 0.3 s and 0.2 s, 1 m/s, 3 rad/s, steps of 0.1 s."""
    drive, turn = np.clip(action, -1, 1)
    spin = spin + 0.1 * (3.0 * turn - spin) / 0.2
    heading = heading + 0.1 * spin
    velocity = velocity + 0.1 * (1.0 * drive * np.array([np.cos(heading), np.sin(heading)]) - velocity) / 0.3
    moved = position + 0.1 * velocity
    inside = np.abs(moved) <= 2.25
    return np.clip(moved, -2.25, 2.25), np.where(inside, velocity, 0), heading, spin


def test_the_robot_moves_as_an_independent_version_does():
    rng = np.random.default_rng(0)
    state = arena(goal=(40.0, 40.0))
    mine = np.zeros(2), np.zeros(2), 0.0, 0.0
    walls = 0
    for t in range(300):
        # Mostly ahead, so that the walls are met too; some actions are out of range.
        action = np.float32([rng.uniform(-0.2, 1.3), rng.uniform(-1, 1)])
        mine = reference_motion(*mine, action)
        state, _, _ = step(state, action)
        walls += (np.abs(mine[0]) == 2.25).any()
        np.testing.assert_allclose(state.position, mine[0], atol=2e-4, err_msg=str(t))
        np.testing.assert_allclose(state.velocity, mine[1], atol=2e-4)
        np.testing.assert_allclose(state.spin, mine[3], atol=1e-4)
        assert np.cos(float(state.heading) - mine[2]) > 1 - 1e-6
        assert abs(float(state.heading)) <= np.pi + 1e-5
    assert walls > 10


def test_full_drive_and_full_turning_reach_the_top_speeds():
    state = arena(position=(-2.0, 0.0), goal=(40, 40))
    for _ in range(25):
        state, _, _ = step(state, jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(state.velocity, [1.0, 0.0], atol=1e-3)
    for _ in range(25):
        state, _, _ = step(state, jnp.array([0.0, -1.0]))
    np.testing.assert_allclose(state.spin, -3.0, atol=1e-3)
    np.testing.assert_allclose(state.velocity, 0.0, atol=1e-3)


def test_a_wall_stops_the_robot_but_lets_it_slide_along():
    state = arena(position=(2.2, 0.0), goal=(40, 40), heading=np.pi / 4, velocity=(0.7, 0.7))
    for _ in range(5):
        state, _, _ = step(state, jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(state.position[0], 2.25, atol=1e-6)
    assert float(state.velocity[0]) == 0.0
    assert float(state.position[1]) > 0.3


# Reward, goals and cost.


def test_the_reward_is_the_progress_towards_the_goal():
    state = arena(goal=(1.0, 0.0), velocity=(1.0, 0.0))
    # From 1 m at full speed: 0.1 m nearer. Backwards the same is lost.
    _, reward, _ = step(state, jnp.array([1.0, 0.0]))
    assert float(reward) == pytest.approx(0.1, abs=1e-6)
    _, reward, _ = step(state._replace(goal=jnp.array([-1.0, 0.0])), jnp.array([1.0, 0.0]))
    assert float(reward) == pytest.approx(-0.1, abs=1e-6)


def test_a_goal_that_is_reached_pays_one_and_moves_elsewhere():
    state = arena(goal=(0.45, 0.0), velocity=(1.0, 0.0))
    after, reward, _ = step(state, jnp.array([1.0, 0.0]))
    # 0.35 m off: not yet.
    assert float(reward) == pytest.approx(0.1, abs=1e-6)
    np.testing.assert_array_equal(after.goal, state.goal)
    later, reward, _ = step(after, jnp.array([1.0, 0.0]))
    # 0.25 m off.
    assert float(reward) == pytest.approx(1.1, abs=1e-6)
    assert np.linalg.norm(later.goal - later.position) > 1.2
    # The key decides where to.
    keys = jax.random.split(KEY, 4)
    assert len({tuple(np.asarray(step(after, jnp.array([1.0, 0.0]), key)[0].goal)) for key in keys}) == 4


@pytest.mark.parametrize(
    ("hazards", "expected"),
    [
        ([], 0.0),
        # The robot stops at (0.1, 0): 0.31 m, 0.29 m and 0 m from the centers.
        ([(0.41, 0.0)], 0.0),
        ([(0.39, 0.0)], 1.0),
        ([(0.1, 0.0)], 1.0),
        # Two at once cost as much as one.
        ([(0.0, 0.0), (0.3, 0.0), (1.0, 1.0)], 1.0),
    ],
)
def test_a_step_costs_one_if_it_ends_in_a_hazard(hazards, expected):
    state = arena(hazards=hazards, velocity=(1.0, 0.0))
    after, _, cost = step(state, jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(after.position, [0.1, 0.0], atol=1e-6)
    assert float(cost) == expected


def test_hazards_change_neither_motion_nor_reward():
    free, costly = arena(velocity=(1.0, 0.0)), arena(hazards=[(0.0, 0.0)], velocity=(1.0, 0.0))
    one, other = step(free, jnp.array([0.5, 0.5])), step(costly, jnp.array([0.5, 0.5]))
    np.testing.assert_array_equal(one[0].position, other[0].position)
    assert (float(one[1]), float(one[2])) == (float(other[1]), 0.0)
    assert float(other[2]) == 1.0


def test_nothing_is_terminal():
    assert not ARENA.terminal(arena(hazards=[(0.0, 0.0)], goal=(0.0, 0.0)), ARENA.params)


# What is seen.


def test_the_observation_is_as_documented():
    state = arena(goal=(0.0, 1.0), hazards=[(-1.0, 0.0)], heading=np.pi / 2, velocity=(-0.25, 0.5), spin=1.5)
    obs = np.asarray(observe(state))
    # The goal is straight ahead: between the bins 15 and 0. The hazard is 90 degrees to the left: 3 and 4.
    diagonal = 4.5 * np.sqrt(2)
    expected = np.zeros(16)
    expected[[0, 15]] = 1 - 1 / diagonal
    np.testing.assert_allclose(obs[:16], expected, atol=1e-5)
    expected = np.zeros(16)
    expected[[3, 4]] = 0.5
    np.testing.assert_allclose(obs[16:32], expected, atol=1e-5)
    # Half the top speed ahead, a quarter to the left, half the top turning rate.
    np.testing.assert_allclose(obs[32:], [0.5, 0.25, 0.5], atol=1e-6)


def test_turning_the_whole_arena_changes_nothing_that_is_seen():
    def turned(angle):
        c, s = np.cos(angle), np.sin(angle)
        turn = np.array([[c, -s], [s, c]])
        hazards = [turn @ place for place in ((0.5, 0.7), (-1.2, 0.1))]
        return observe(
            arena(turn @ (0.3, -0.2), turn @ (1.0, 1.0), hazards, 0.3 + angle, turn @ (0.2, 0.4), 0.7)
        )

    for angle in (0.5, 2.0, -3.0):
        np.testing.assert_allclose(turned(angle), turned(0.0), atol=1e-4)


# Levels and figures.


def to_goal(state, key):
    """Turn to the goal and head for it, whatever lies between."""
    del key
    offset = state.goal - state.position
    angle = jnp.arctan2(offset[:, 1], offset[:, 0]) - state.heading
    angle = jnp.mod(angle + jnp.pi, 2 * jnp.pi) - jnp.pi
    return jnp.stack([jnp.maximum(jnp.cos(angle), 0), jnp.clip(2 * angle, -1, 1)], axis=1)


def at_random(state, key):
    return jax.random.uniform(key, state.goal.shape, minval=-1, maxval=1)


def wildly(state, key):
    """The largest actions and beyond, mostly ahead and to the left."""
    return 5 * jnp.sign(jax.random.uniform(key, state.goal.shape, minval=-0.3, maxval=1.0))


POLICIES = {"random": at_random, "straight": to_goal, "wild": wildly}
EPISODES = 150


class Played(NamedTuple):
    """Returns and costs of episodes by policy, and the extremes of each entry of an observation."""

    totals: dict
    costs: dict
    lowest: np.ndarray
    highest: np.ndarray


@functools.cache
def play(level):
    env, num = ARENAS[level], EPISODES * len(POLICIES)

    def body(state, key):
        actions = [policy(state.env, key) for policy in POLICIES.values()]
        turn = jnp.arange(num)[:, None] // EPISODES
        action = jnp.select([turn == i for i in range(len(actions))], actions)
        state, out = autoreset.step(env, env.params, state, action)
        return state, (out.episode_return, out.episode_cost, out.obs.min(axis=0), out.obs.max(axis=0))

    @jax.jit
    def run(key):
        state, _ = autoreset.reset(env, env.params, jax.random.split(key, num))
        _, rows = jax.lax.scan(body, state, jax.random.split(key, env.max_episode_steps))
        return rows[0][-1], rows[1][-1], rows[2].min(axis=0), rows[3].max(axis=0)

    totals, costs, lowest, highest = map(np.asarray, run(jax.random.key(1)))
    rows = (dict(zip(POLICIES, x.reshape(-1, EPISODES), strict=True)) for x in (totals, costs))
    return Played(*rows, lowest, highest)


@pytest.mark.parametrize("level", ARENAS)
def test_the_documented_figures_are_what_is_played(level):
    row = re.search(rf"^ +{level} +\d.*$", make_point_goal.__doc__, re.MULTILINE)[0]
    documented = re.findall(r"(-?[\d.]+), ([\d.]+)", row)
    assert len(documented) == 2, row
    played = play(level)
    for name, (total, cost) in zip(("random", "straight"), documented, strict=True):
        for values, said in ((played.totals[name], float(total)), (played.costs[name], float(cost))):
            # Four standard errors, and what the documented figure itself may be off.
            assert abs(values.mean() - said) <= 4.1 * values.std() / np.sqrt(EPISODES) + 0.1


@pytest.mark.parametrize("level", ARENAS)
def test_observations_keep_to_their_bounds_however_one_drives(level):
    played = play(level)
    assert (played.lowest >= np.r_[np.zeros(32), -np.ones(3)]).all()
    assert (played.highest <= 1).all()
    # Everything is seen at some time: all bins, both speeds, both turns.
    assert (played.highest[:16] > 0.5).all()
    if level:
        assert (played.highest[16:32] > 0.8).all()
    assert played.highest[32] > 0.99
    assert (played.lowest[32:] < -0.2).all()
    assert (played.highest[33:] > 0.2).all()


def test_levels_differ_in_size_and_hazards():
    for level, env in ARENAS.items():
        config = env.initial.config
        assert (config.num_hazards, config.half_side) == (HAZARDS[level], pytest.approx(HALF_SIDE[level]))
        assert env.max_episode_steps == 250
    assert make_point_goal(0, num_hazards=3).initial.config.num_hazards == 3
    assert make_point_goal(max_episode_steps=7).max_episode_steps == 7


def test_episodes_are_truncated_and_each_has_its_own_arena():
    env = make_point_goal(num_hazards=1, max_episode_steps=2)
    state, _ = jax.jit(functools.partial(autoreset.reset, env))(env.params, jax.random.split(KEY, 2))
    advance = jax.jit(functools.partial(autoreset.step, env))
    hazards, ends = [], []
    for _ in range(4):
        hazards.append(np.asarray(state.env.hazards))
        state, out = advance(env.params, state, jnp.zeros((2, 2)))
        ends.append(bool(out.truncated.all()))
        assert not out.terminated.any()
    assert ends == [False, True, False, True]
    np.testing.assert_array_equal(hazards[0], hazards[1])
    assert (hazards[1] != hazards[2]).all()


def test_the_physics_changes_without_a_retrace():
    before = step._cache_size()
    state = arena(velocity=(1.0, 0.0))
    slow = ARENA.params._replace(top_speed=0.5, goal_bonus=3.0)
    for params in (ARENA.params, slow):
        # Strong types, as the machinery makes them.
        params = jax.tree.map(jnp.float32, params)
        after, _, _ = step(state, jnp.array([1.0, 0.0]), KEY, params)
    assert float(after.velocity[0]) == pytest.approx(1 - 0.5 / 3, abs=1e-6)
    assert step._cache_size() <= before + 1


# The picture.


def test_the_frame_shows_goal_hazards_robot_and_heading():
    state = arena(position=(1.0, 0.0), goal=(-1.5, 1.5), hazards=[(0.0, -1.0)], heading=np.pi / 2)
    frame = ARENA.render(jax.tree.map(np.asarray, state), ARENA.params)
    assert frame.shape == (300, 300, 3)
    assert frame.dtype == np.uint8

    def color(x, y):
        # 2.25 m and a margin of 0.15 m are 150 pixels.
        return tuple(frame[round(149.5 - y / 2.4 * 150), round(149.5 + x / 2.4 * 150)].tolist())

    assert color(-1.5, 1.5) == color(-1.3, 1.6) == (60, 190, 90)
    assert color(0.0, -1.0) == color(0.25, -1.0) == (120, 120, 220)
    assert color(1.0, -0.05) == (200, 60, 50)
    assert color(1.0, 0.07) == (250, 230, 90)
    assert color(-1.0, -1.0) == (250, 250, 250)
    assert color(2.35, 0.0) == (90, 90, 90)


# Identity and bad input.


def test_arenas_made_alike_are_equal_and_survive_pickling():
    env = make_point_goal(2)
    assert env == make_point_goal(2) == pickle.loads(pickle.dumps(env))
    assert hash(env) == hash(make_point_goal(2))
    assert env != make_point_goal(1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"level": 3}, r"level must be one of \[0, 1, 2\], got 3"),
        ({"num_hazards": 22}, "num_hazards must be an integer of at least 0 and at most 21, got 22"),
        ({"num_hazards": -1}, "num_hazards must be an integer of at least 0 and at most 21"),
        ({"hazard_radius": 0.5}, "hazard_radius must be a number above 0 and at most 0.4, got 0.5"),
        ({"goal_radius": 0.0}, "goal_radius must be a number above 0 and at most 0.4, got 0"),
        ({"hazard_radius": float("nan")}, "hazard_radius must be a number above 0"),
        ({"max_episode_steps": 0}, "max_episode_steps must be an integer of at least 1, got 0"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_point_goal(**arguments)
