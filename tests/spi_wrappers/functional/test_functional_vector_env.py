import copy
import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from lockstep import play_alike

import spi_plugins  # noqa: F401 - registers the ids
from spi_plugins.envs.cartpole import make_cartpole
from spi_plugins.envs.pixel_goal import make_pixel_goal
from spi_plugins.envs.probe import make_probe
from spi_wrappers.functional import FunctionalGymEnv, FunctionalVectorEnv

NUM = 4
# Few environments, so that the tests share compilations. The board's episodes end in both ways, and cost.
BOARD = make_pixel_goal(size=3, num_hazards=4, max_episode_steps=4)
CONFLICT = make_probe("cost_conflict")
TWINS = {"board": BOARD, "dict_rule": make_probe("dict_rule"), "box_target": make_probe("box_target")}
MODES = pytest.mark.parametrize("mode", AutoresetMode)


def pair(name, mode):
    functional = TWINS[name]
    ours = FunctionalVectorEnv(NUM, functional, autoreset_mode=mode)
    theirs = SyncVectorEnv([lambda: FunctionalGymEnv(functional)] * NUM, autoreset_mode=mode)
    return ours, theirs


def assert_same(ours, theirs):
    assert data_equivalence(ours, theirs, exact=True), f"{ours}\n{theirs}"


@MODES
@pytest.mark.parametrize("name", TWINS)
def test_it_is_a_sync_vector_env_of_single_ones(name, mode):
    ours, theirs = pair(name, mode)
    assert ours.metadata["autoreset_mode"] is theirs.metadata["autoreset_mode"] is mode
    assert play_alike(ours, theirs, assert_same, steps=15) > 3


@MODES
def test_resets_with_masks_and_seeds_are_those_of_a_sync_vector_env(mode):
    ours, theirs = pair("board", mode)
    assert_same(ours.reset(seed=[3, 1, 4, 1]), theirs.reset(seed=[3, 1, 4, 1]))
    masks = ([True, False, True, False], [False, False, False, True])
    for seed, mask in zip((None, [9, None, None, 8]), masks, strict=True):
        action = np.array([0, 1, 2, 3])
        assert_same(ours.step(action), theirs.step(action))
        mine = ours.reset(seed=seed, options={"reset_mask": np.array(mask)})
        assert_same(mine, theirs.reset(seed=seed, options={"reset_mask": np.array(mask)}))
    assert_same(ours.reset(), theirs.reset())
    assert_same(ours.reset(seed=2), theirs.reset(seed=2))


def test_a_reset_by_mask_clears_a_pending_reset_under_next_step():
    env = FunctionalVectorEnv(2, CONFLICT)
    env.reset(seed=0)
    _, _, terminated, _, _ = env.step(np.array([1, 1]))
    assert terminated.all()
    env.reset(options={"reset_mask": np.array([True, False])})
    _, reward, terminated, _, _ = env.step(np.array([1, 1]))
    np.testing.assert_array_equal(reward, [1.0, 0.0])
    np.testing.assert_array_equal(terminated, [True, False])


@MODES
def test_the_cost_of_an_episodes_last_step_is_kept(mode):
    env = FunctionalVectorEnv(2, CONFLICT, autoreset_mode=mode)
    _, infos = env.reset(seed=0)
    np.testing.assert_array_equal(infos["cost"], [0.0, 0.0])
    _, reward, terminated, _, infos = env.step(np.array([1, 0]))
    where = infos
    if mode is AutoresetMode.SAME_STEP:
        np.testing.assert_array_equal(infos["cost"], [0.0, 0.0])
        np.testing.assert_array_equal(infos["_cost"], [True, True])
        where = infos["final_info"]
    np.testing.assert_array_equal(where["cost"], [1.0, 0.0])
    np.testing.assert_array_equal(where["_cost"], [True, True])
    np.testing.assert_array_equal(reward, [1.0, 0.5])
    assert terminated.all()


def test_the_arguments_of_a_step_are_left_alone():
    env = FunctionalVectorEnv(2, CONFLICT, autoreset_mode=AutoresetMode.DISABLED)
    env.reset(seed=0)
    env.step(np.array([1, 1]))
    options = {"reset_mask": np.array([True, True])}
    _, infos = env.reset(options=options)
    infos["_cost"][:] = False
    np.testing.assert_array_equal(options["reset_mask"], [True, True])


def test_gymnasium_makes_it_and_makes_it_again_from_its_spec():
    env = gymnasium.make_vec("spi/PixelGoal-v0", num_envs=3, max_episode_steps=7, autoreset_mode="SameStep")
    assert isinstance(env, FunctionalVectorEnv)
    assert env.functional.max_episode_steps == 7
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    env.spec.to_json()
    twin = gymnasium.make_vec(env.spec)
    assert_same(env.reset(seed=0), twin.reset(seed=0))


def test_gymnasiums_statistics_count_its_episodes():
    env = RecordEpisodeStatistics(FunctionalVectorEnv(2, make_probe("two_steps")))
    env.reset(seed=0)
    for _ in range(9):
        env.step(np.zeros(2, np.int64))
    # Two steps and a reset row: three rounds of two.
    assert env.episode_count == 6
    assert set(env.return_queue) == {1.0}
    assert set(env.length_queue) == {2}


@MODES
def test_each_shape_compiles_once(mode):
    traces = []

    def transition(*arguments):
        traces.append(1)
        return CONFLICT.transition(*arguments)

    functional = CONFLICT._replace(transition=transition)
    for num_envs in (2, 3) if mode is AutoresetMode.NEXT_STEP else (2,):
        traces.clear()
        for seed in range(2):
            env = FunctionalVectorEnv(num_envs, functional, autoreset_mode=mode)
            env.reset(seed=seed)
            for _ in range(4):
                _, _, terminated, truncated, _ = env.step(np.zeros(num_envs, np.int64))
                done = terminated | truncated
                if mode is AutoresetMode.DISABLED and done.any():
                    env.reset(options={"reset_mask": done})
        assert len(traces) == 1


def test_parameters_are_swapped_while_it_runs():
    env = FunctionalVectorEnv(NUM, BOARD)
    env.reset(seed=0)
    env.params = env.params._replace(step_penalty=0.5, goal_reward=0.0)
    np.testing.assert_array_equal(env.step(np.zeros(NUM, int))[1], [-0.5] * NUM)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_goes_on_where_the_original_stands(duplicate):
    env = FunctionalVectorEnv(NUM, "spi/PixelGoal-v0", size=3, num_hazards=4, max_episode_steps=4)
    env.reset(seed=0)
    action = np.array([0, 1, 2, 3])
    for _ in range(3):
        env.step(action)
    twin = duplicate(env)
    for _ in range(5):
        assert_same(env.step(action), twin.step(action))


def test_every_copy_is_drawn():
    env = FunctionalVectorEnv(NUM, BOARD, render_mode="rgb_array")
    with pytest.raises(ResetNeeded):
        env.render()
    obs, _ = env.reset(seed=0)
    frames = env.render()
    assert len(frames) == NUM
    for frame, image in zip(frames, obs, strict=True):
        np.testing.assert_array_equal(frame, image.repeat(17, axis=0).repeat(17, axis=1))
    assert FunctionalVectorEnv(NUM, BOARD).render() is None


def test_observations_may_be_kept_and_written_to():
    env = FunctionalVectorEnv(NUM, TWINS["dict_rule"], autoreset_mode=AutoresetMode.SAME_STEP)
    obs, _ = env.reset(seed=0)
    _, _, _, _, infos = env.step(np.array([0, 1, 0, 1]))
    infos["final_obs"][0]["signal"][:] = 5
    obs["signal"][:] = 5
    again, *_ = env.step(np.array([0, 1, 0, 1]))
    assert set(again["signal"].ravel()) <= {-1.0, 1.0}
    images, _ = FunctionalVectorEnv(NUM, BOARD).reset(seed=0)
    images[:] = 5


def running(mode=AutoresetMode.NEXT_STEP):
    env = FunctionalVectorEnv(2, CONFLICT, autoreset_mode=mode)
    env.reset(seed=0)
    return env


def test_without_autoreset_an_ended_episode_must_be_reset():
    env = running(AutoresetMode.DISABLED)
    env.step(np.array([0, 1]))
    env.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(ResetNeeded, match=r"environments \[1\] have ended.*reset_mask"):
        env.step(np.array([0, 1]))
    env.reset(options={"reset_mask": np.array([False, True])})
    env.step(np.array([0, 1]))


def test_a_first_step_or_partial_reset_needs_a_reset():
    env = FunctionalVectorEnv(2, make_cartpole())
    with pytest.raises(ResetNeeded):
        env.step(np.array([0, 0]))
    with pytest.raises(ResetNeeded, match="first reset"):
        env.reset(options={"reset_mask": np.array([True, False])})


def test_a_closed_environment_says_so():
    env = running()
    env.close()
    env.close()
    with pytest.raises(ClosedEnvironmentError, match="step"):
        env.step(np.array([0, 0]))
    with pytest.raises(ClosedEnvironmentError, match="reset"):
        env.reset()


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        ([True, False], TypeError, "NumPy array of bool, got list"),
        (np.array([1, 0]), TypeError, "got dtype int64"),
        (np.array([True]), ValueError, r"shape \(2,\), got \(1,\)"),
        (np.array([False, False]), ValueError, "true somewhere"),
    ],
)
def test_wrong_masks_are_refused(mask, error, message):
    with pytest.raises(error, match=message):
        running().reset(options={"reset_mask": mask})


def test_unknown_options_and_wrong_numbers_of_seeds_are_refused():
    with pytest.raises(ValueError, match=r"\['reset_mask'\], got \['low'\]"):
        running().reset(options={"low": 1})
    with pytest.raises(ValueError, match="2 environments, got 3"):
        running().reset(seed=[1, 2, 3])


@pytest.mark.parametrize("actions", [[0], [0, 4], [[0], [0]], [0.0, 1.0], 0])
def test_wrong_actions_are_refused(actions):
    with pytest.raises(ValueError, match="action must"):
        running().step(np.array(actions))


def test_the_arguments_of_the_constructor_are_checked():
    with pytest.raises(ValueError, match="num_envs must be at least 1, got 0"):
        FunctionalVectorEnv(0, make_cartpole())
    with pytest.raises(ValueError, match=r"NextStep.*got 'next'"):
        FunctionalVectorEnv(1, make_cartpole(), autoreset_mode="next")
