import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.envs import autoreset
from spi_plugins.envs.pixel_goal import PixelGoalState, make_pixel_goal

FLOOR, HAZARD, GOAL, AGENT = (24, 24, 48), (208, 48, 48), (48, 208, 96), (240, 240, 240)
UP, DOWN, LEFT, RIGHT = range(4)
KEYS = jax.random.split(jax.random.key(0), 2)
SURE = make_pixel_goal(size=3, scale=2, num_hazards=2, slip=0.0)


def state(agent, goal, hazards):
    return PixelGoalState(jnp.int32(agent), jnp.int32(goal), jnp.asarray(hazards, jnp.int32))


def mean_returns(size=6, slip=0.1, steps=50, penalty=0.02):
    """Exact mean return of the best and of the uniformly random policy, by backward induction."""
    cells = [(r, c) for r in range(size) for c in range(size)]
    index = {cell: i for i, cell in enumerate(cells)}
    moves = ((-1, 0), (1, 0), (0, -1), (0, 1))
    following = np.array(
        [[index.get((r + dr, c + dc), index[r, c]) for dr, dc in moves] for r, c in cells]
    )  # off the board: stay
    best, random = [], []
    for goal in range(size**2):
        v_best = v_random = np.zeros(size**2)
        for _ in range(steps):
            # A reached goal pays 1 and has no future.
            q_best = np.where(following == goal, 1.0, v_best[following]) - penalty
            q_random = np.where(following == goal, 1.0, v_random[following]) - penalty
            v_best = (1 - slip) * q_best.max(axis=1) + slip * q_best.mean(axis=1)
            v_random = q_random.mean(axis=1)
        others = np.arange(size**2) != goal
        best.append(v_best[others].mean())
        random.append(v_random[others].mean())
    return np.mean(best), np.mean(random)


def to_goal(state, key):
    """Along the column first; every move that comes nearer is best but for the border's help."""
    del key
    rows = state.goal // 6 - state.agent // 6
    columns = state.goal % 6 - state.agent % 6
    sideways = jnp.where(columns > 0, RIGHT, LEFT)
    return jnp.where(rows != 0, jnp.where(rows > 0, DOWN, UP), sideways)


def coin(state, key):
    return jax.random.randint(key, state.agent.shape, 0, 4)


def play(policy, episodes=2000):
    """Mean return of first episodes, and the share of them that were truncated."""
    env = make_pixel_goal()

    def body(state, key):
        state, out = autoreset.step(env, env.params, state, policy(state.env, key))
        return state, (out.terminated, out.truncated, out.episode_return)

    @jax.jit
    def run(key):
        state, _ = autoreset.reset(env, env.params, jax.random.split(key, episodes))
        return jax.lax.scan(body, state, jax.random.split(key, 50))[1]

    terminated, truncated, totals = map(np.asarray, run(jax.random.key(0)))
    first = np.argmax(terminated | truncated, axis=0), np.arange(episodes)
    return totals[first].mean(), truncated[first].mean()


def test_the_documented_returns_are_the_exact_ones_and_what_is_played():
    best, random = mean_returns()
    assert f"{best:.3f}" in make_pixel_goal.__doc__
    assert f"{random:.3f}" in make_pixel_goal.__doc__
    played, late = play(to_goal)
    assert played == pytest.approx(best, abs=0.015)
    assert late == 0
    played, late = play(coin)
    assert played == pytest.approx(random, abs=0.05)
    assert 0.4 < late < 0.6


def test_the_image_shows_floor_hazards_goal_and_agent():
    image = np.asarray(SURE.observation(state(0, 5, [1, 8]), SURE.params))
    board = np.array([[AGENT, HAZARD, FLOOR], [FLOOR, FLOOR, GOAL], [FLOOR, FLOOR, HAZARD]], np.uint8)
    np.testing.assert_array_equal(image, np.kron(board, np.ones((2, 2, 1), np.uint8)))
    assert image.dtype == np.uint8


def test_the_agent_covers_what_it_stands_on():
    for cell in (1, 5):
        image = SURE.observation(state(cell, 5, [1, 8]), SURE.params)
        np.testing.assert_array_equal(image[2 * (cell // 3), 2 * (cell % 3)], AGENT)


@pytest.mark.parametrize(
    ("agent", "action", "expected"),
    [
        (4, UP, 1),
        (4, DOWN, 7),
        (4, LEFT, 3),
        (4, RIGHT, 5),
        (0, UP, 0),
        (0, LEFT, 0),
        (8, DOWN, 8),
        (5, RIGHT, 5),
    ],
)
def test_moves_on_the_board_and_at_its_border(agent, action, expected):
    before = state(agent, 2, [6, 6])
    after = SURE.transition(before, jnp.int32(action), jax.random.key(0), SURE.params)
    assert int(after.agent) == expected
    assert int(after.goal) == 2


def test_reward_cost_and_end():
    def outcome(cell):
        after = state(cell, 5, [1, 8])
        arguments = (state(4, 5, [1, 8]), jnp.int32(0), after, SURE.params)
        return (
            float(SURE.reward(*arguments)),
            float(SURE.cost(*arguments)),
            bool(SURE.terminal(after, SURE.params)),
        )

    assert outcome(4) == (pytest.approx(-0.02), 0.0, False)
    assert outcome(1) == (pytest.approx(-0.02), 1.0, False)
    assert outcome(5) == (pytest.approx(0.98), 0.0, True)


def test_a_slip_goes_any_of_the_four_ways():
    env = make_pixel_goal(size=3, slip=0.4, num_hazards=0)
    keys = jax.random.split(jax.random.key(0), 4000)
    step = jax.jit(
        jax.vmap(lambda key: env.transition(state(4, 0, []), jnp.int32(UP), key, env.params).agent)
    )
    shares = np.bincount(step(keys), minlength=9) / 4000
    np.testing.assert_allclose(shares[[1, 7, 3, 5]], [0.6 + 0.1, 0.1, 0.1, 0.1], atol=0.03)


def test_an_episode_starts_on_distinct_cells_everywhere():
    env = make_pixel_goal(size=3, num_hazards=4)
    many = jax.jit(jax.vmap(lambda key: env.initial(key, env.params)))(
        jax.random.split(jax.random.key(0), 3000)
    )
    cells = np.column_stack([many.agent, many.goal, many.hazards])
    assert all(len(set(row)) == 6 for row in cells)
    for column in cells.T:
        np.testing.assert_allclose(np.bincount(column, minlength=9) / 3000, 1 / 9, atol=0.03)


def test_the_specification_is_what_comes_out():
    for env in (make_pixel_goal(), make_pixel_goal(size=10, scale=1, num_hazards=0)):
        _, obs = jax.jit(functools.partial(autoreset.reset, env))(env.params, KEYS)
        assert obs.shape == (2, *env.observation_spec.shape)
        assert obs.dtype == env.observation_spec.dtype


def test_a_rendered_frame_is_the_observation_enlarged():
    frame = SURE.render(jax.tree.map(np.asarray, state(0, 5, [1, 8])), SURE.params)
    assert frame.shape == (318, 318, 3)
    np.testing.assert_array_equal(frame[:106, :106], np.broadcast_to(np.uint8(AGENT), (106, 106, 3)))


def test_boards_made_alike_are_equal_and_survive_pickling():
    env = make_pixel_goal(size=4)
    assert env == make_pixel_goal(size=4) == pickle.loads(pickle.dumps(env))
    assert hash(env) == hash(make_pixel_goal(size=4))
    assert env != make_pixel_goal(size=5)


def test_probabilities_and_rewards_change_without_a_retrace():
    step = jax.jit(functools.partial(autoreset.step, SURE))
    start, _ = jax.jit(functools.partial(autoreset.reset, SURE))(SURE.params, KEYS)
    for penalty in (0.5, 0.25):
        params = SURE.params._replace(goal_reward=0.0, step_penalty=penalty)
        _, out = step(params, start, jnp.zeros(2, jnp.int32))
        np.testing.assert_array_equal(out.reward, -penalty)
    assert step._cache_size() == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 1}, "size must be an integer of at least 2, got 1"),
        ({"scale": 0}, "scale must be an integer of at least 1, got 0"),
        ({"size": 3, "num_hazards": 8}, "num_hazards must be .* at least 0 and at most 7, got 8"),
        ({"num_hazards": -1}, "num_hazards must be .* at least 0 and at most 34"),
        ({"slip": 1.5}, "slip must be a number at least 0 and at most 1, got 1.5"),
        ({"max_episode_steps": 0}, "max_episode_steps must be an integer of at least 1, got 0"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_pixel_goal(**arguments)
