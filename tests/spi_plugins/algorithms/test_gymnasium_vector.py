"""The adapter for Gymnasium's vector environments, against Stable-Baselines3's DummyVecEnv and Monitor."""

from typing import ClassVar

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_envs import SCRIPTS, adapter, assert_same_infos, assert_same_obs, makers, reference
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from spi_plugins.algorithms.vec_envs import GymVectorEnvAdapter
from spi_plugins.errors import EnvironmentNotSupportedError

MODES = list(AutoresetMode)

# JAX and newer Pythons warn about forking with running threads; these workers use neither JAX nor locks.
forks = pytest.mark.filterwarnings("ignore:.*fork")

ending = st.sampled_from(["end", "limit", "both"])
script = st.lists(st.tuples(st.integers(1, 4), ending), min_size=1, max_size=3)


@pytest.mark.parametrize("mode", MODES)
@given(scripts=st.lists(script, min_size=1, max_size=3), dict_obs=st.booleans(), seed=st.integers(0, 99))
@settings(max_examples=12, deadline=None)
def test_step_equals_dummy_vec_env_with_monitor(mode, scripts, dict_obs, seed):
    mine, theirs = adapter(scripts, mode, dict_obs=dict_obs), reference(scripts, dict_obs=dict_obs)
    assert mine.observation_space == theirs.observation_space
    assert mine.action_space == theirs.action_space
    assert_same_obs(mine.reset(), theirs.reset())
    rng = np.random.default_rng(seed)
    for _ in range(12):
        actions = rng.integers(0, 5, len(scripts))
        got, want = mine.step(actions), theirs.step(actions)
        assert_same_obs(got[0], want[0])
        np.testing.assert_array_equal(got[1], want[1])
        assert (got[1].dtype, got[2].dtype) == (np.float32, np.bool_)
        np.testing.assert_array_equal(got[2], want[2])
        assert_same_infos(got[3], want[3])
        assert mine.reset_infos == theirs.reset_infos


@given(scripts=st.lists(script, min_size=1, max_size=3), dict_obs=st.booleans(), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_rows_equal_a_loop_over_single_environments(scripts, dict_obs, seed):
    envs = [make() for make in makers(scripts, dict_obs=dict_obs, cost=True)]
    mine = adapter(scripts, AutoresetMode.NEXT_STEP, dict_obs=dict_obs, cost=True)
    first = mine.reset()
    singles = [env.reset()[0] for env in envs]
    rng, ended = np.random.default_rng(seed), [False] * len(envs)
    sums = [[0.0, 0, 0.0] for _ in envs]
    for i, obs in enumerate(singles):
        assert_same_obs(row_of(first, i), obs)
    for _ in range(15):
        actions = rng.integers(0, 5, len(envs))
        rows = mine.step_rows(actions)
        assert rows.reward.dtype == np.float32
        for i, env in enumerate(envs):
            assert rows.valid[i] != ended[i]
            if ended[i]:
                obs, _ = env.reset()
                reward, terminated, truncated, sums[i] = 0.0, False, False, [0.0, 0, 0.0]
            else:
                obs, reward, terminated, truncated, info = env.step(actions[i])
                sums[i] = [sums[i][0] + reward, sums[i][1] + 1, sums[i][2] + info["cost"]]
                assert rows.infos[i]["step"] == info["step"]
            assert_same_obs(row_of(rows.obs, i), obs)
            assert (rows.reward[i], rows.terminated[i], rows.truncated[i]) == (reward, terminated, truncated)
            ended[i] = terminated or truncated
            assert ("episode" in rows.infos[i]) == ended[i]
            if ended[i]:
                episode = rows.infos[i]["episode"]
                assert [episode["r"], episode["l"], episode["c"]] == sums[i]


def row_of(obs, index):
    return {key: part[index] for key, part in obs.items()} if isinstance(obs, dict) else obs[index]


def test_step_after_rows_gives_the_pending_reset_as_a_row_without_reward():
    mine = adapter([[(2, "end")], [(9, "end")]], AutoresetMode.NEXT_STEP)
    mine.reset()
    mine.step_rows(np.array([0, 0]))
    assert mine.step_rows(np.array([0, 0])).terminated.tolist() == [True, False]
    obs, reward, done, infos = mine.step(np.array([1, 1]))
    np.testing.assert_array_equal(obs, [[0, 1, 0, -1], [1, 0, 3, 1]])
    assert reward.tolist() == [0.0, 3.5]
    assert done.tolist() == [False, False]
    assert "terminal_observation" not in infos[0]
    mine.step(np.array([0, 0]))
    _, _, done, infos = mine.step(np.array([0, 0]))
    assert done.tolist() == [True, False]
    assert (infos[0]["episode"]["l"], infos[0]["episode"]["r"]) == (2, 3.0)


def test_rows_after_step_have_nothing_left_to_reset():
    mine = adapter([[(1, "end"), (5, "end")]], AutoresetMode.NEXT_STEP)
    mine.reset()
    obs, _, done, _ = mine.step(np.array([0]))
    assert done[0]
    assert obs[0].tolist() == [0, 1, 0, -1]
    rows = mine.step_rows(np.array([2]))
    assert rows.valid[0]
    assert rows.obs[0].tolist() == [0, 1, 1, 2]


def test_a_reset_forgets_pending_resets_and_running_episodes():
    mine = adapter([[(1, "end"), (2, "end")]], AutoresetMode.NEXT_STEP)
    mine.reset()
    mine.step_rows(np.array([0]))
    mine.reset()
    rows = mine.step_rows(np.array([0]))
    assert rows.valid[0]
    mine = adapter([[(3, "end")]], AutoresetMode.NEXT_STEP, cost=True)
    mine.reset()
    mine.step(np.array([4]))
    mine.reset()
    for _ in range(3):
        _, _, _, infos = mine.step(np.array([0]))
    episode = infos[0]["episode"]
    assert (episode["r"], episode["l"], episode["c"]) == (6.0, 3, 1.5)


@pytest.mark.parametrize("mode", MODES)
def test_the_cost_of_the_last_step_is_counted_and_the_reset_is_not(mode):
    mine = adapter([[(2, "end")]], mode, cost=True)
    mine.reset()
    _, _, _, infos = mine.step(np.array([0]))
    assert infos[0]["cost"] == 0.25
    assert type(infos[0]["cost"]) is float
    _, _, _, infos = mine.step(np.array([0]))
    assert infos[0]["cost"] == 0.5
    assert infos[0]["episode"]["c"] == 0.75
    assert mine.reset_infos[0] == {"fresh": 1, "cost": 0.0}


@pytest.mark.parametrize("mode", MODES)
def test_what_came_out_is_never_written_again(mode):
    mine = GymVectorEnvAdapter(SyncVectorEnv(makers(SCRIPTS), copy=False, autoreset_mode=mode))
    kept = [mine.reset()]
    for t in range(8):
        obs, reward, done, infos = mine.step(np.full(3, t % 5))
        kept += [
            obs,
            reward,
            done,
            *(i["terminal_observation"] for i in infos if "terminal_observation" in i),
        ]
        if t == 0:
            copies = [array.copy() for array in kept]
    for array, copy in zip(kept, copies, strict=False):
        np.testing.assert_array_equal(array, copy)


@forks
@pytest.mark.parametrize("mode", MODES)
def test_worker_processes_give_the_same_as_one_process(mode):
    mine = GymVectorEnvAdapter(AsyncVectorEnv(makers(SCRIPTS), autoreset_mode=mode))
    theirs = reference(SCRIPTS)
    np.testing.assert_array_equal(mine.reset(), theirs.reset())
    for t in range(10):
        got, want = mine.step(np.full(3, t % 5)), theirs.step(np.full(3, t % 5))
        np.testing.assert_array_equal(got[0], want[0])
        np.testing.assert_array_equal(got[2], want[2])
        assert_same_infos(got[3], want[3])
    assert mine.get_attr("name") == [0, 1, 2]
    assert not mine.has_attr("nothing")  # and the workers live on
    mine.set_attr("name", 7)
    assert mine.get_attr("name", indices=1) == [7]
    with pytest.raises(ValueError, match="all environments"):
        mine.set_attr("name", 8, indices=[0])
    with pytest.raises(AttributeError, match="no method 'nothing'"):
        mine.env_method("nothing")
    assert mine.env_method("has_wrapper_attr", "name") == [True, True, True]
    mine.close()


@forks
def test_async_without_shared_memory_is_refused_where_it_would_reset_twice():
    env = AsyncVectorEnv(makers(SCRIPTS), shared_memory=False)
    with pytest.raises(EnvironmentNotSupportedError, match="shared_memory=True"):
        GymVectorEnvAdapter(env)
    env.close()


def test_seeds_and_options_reach_the_next_reset_only():
    mine = adapter(SCRIPTS, AutoresetMode.NEXT_STEP)
    assert mine.seed(5) == [5, 6, 7]
    mine.set_options({"level": 2})
    mine.reset()
    assert mine.get_attr("first_seed") == [5, 6, 7]
    assert mine.get_attr("options") == [{"level": 2}] * 3
    mine.reset()
    assert mine.get_attr("options") == [None] * 3
    mine.set_options([{"level": 1}, {}, {}])
    with pytest.raises(ValueError, match="one options dict"):
        mine.reset()


def test_same_seed_gives_the_same_trajectory_as_dummy_vec_env():
    mine = GymVectorEnvAdapter(gym.make_vec("CartPole-v1", 2, vectorization_mode="sync"))
    theirs = DummyVecEnv([lambda: Monitor(gym.make("CartPole-v1"))] * 2)
    mine.seed(3)
    theirs.seed(3)
    np.testing.assert_array_equal(mine.reset(), theirs.reset())
    for t in range(60):
        got, want = mine.step(np.array([t % 2, 1])), theirs.step(np.array([t % 2, 1]))
        np.testing.assert_array_equal(got[0], want[0])
        assert_same_infos(got[3], want[3])


def test_attributes_methods_and_frames_reach_the_sub_environments():
    mine = adapter(SCRIPTS, AutoresetMode.NEXT_STEP, render_mode="rgb_array")
    mine.reset()
    assert mine.render_mode == "rgb_array"
    assert mine.metadata["render_fps"] == 7
    assert mine.get_attr("name", indices=[2, 0]) == [2, 0]
    mine.set_attr("name", 9, indices=1)
    assert mine.get_attr("name") == [0, 9, 2]
    assert mine.env_method("has_wrapper_attr", "episode", indices=1) == [True]
    assert [int(image[0, 0, 0]) for image in mine.get_images()] == [0, 9, 2]
    assert mine.render().shape == (8, 12, 3)
    assert mine.env_is_wrapped(Monitor) == [True, True, True]
    assert mine.env_is_wrapped(gym.wrappers.TimeLimit) == [False, False, False]


def test_vector_wrappers_are_kept():
    env = SyncVectorEnv(makers(SCRIPTS))
    env = gym.wrappers.vector.RecordEpisodeStatistics(gym.wrappers.vector.ClipReward(env, 0.0, 1.0))
    mine = GymVectorEnvAdapter(env)
    assert mine.get_attr("episode_count") == [0, 0, 0]
    mine.reset()
    lengths = [[], [], []]
    for _ in range(12):
        _, reward, _, infos = mine.step(np.zeros(3, int))
        assert reward.max() <= 1.0
        for i, info in enumerate(infos):
            if "episode" in info:
                lengths[i].append(info["episode"]["l"])
    # RecordEpisodeStatistics itself forgets all running episodes at a partial reset.
    assert lengths == [[1] * 12, [3, 1, 2, 3, 1, 2], [2, 4, 2, 4]]


def test_step_is_refused_where_a_partial_reset_would_reset_everything():
    env = gym.make_vec("CartPole-v1", 2, vectorization_mode="vector_entry_point")
    mine = GymVectorEnvAdapter(env)
    mine.reset()
    with pytest.raises(EnvironmentNotSupportedError, match="vectorization_mode='sync'"):
        mine.step(np.array([0, 0]))
    ended = np.zeros(2, bool)
    for _ in range(30):
        rows = mine.step_rows(np.array([0, 1]))
        np.testing.assert_array_equal(rows.valid, ~ended)
        ended = rows.terminated | rows.truncated
        assert (np.abs(rows.obs[~rows.valid]) <= 0.05).all()


def test_a_class_may_say_that_it_honours_the_mask():
    inner = SyncVectorEnv(makers(SCRIPTS))

    class Own(gym.vector.VectorEnv):
        honours_reset_mask = True
        metadata: ClassVar = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        num_envs = 3
        single_observation_space, single_action_space = (
            inner.single_observation_space,
            inner.single_action_space,
        )

        def reset(self, *, seed=None, options=None):
            return inner.reset(seed=seed, options=options)

        def step(self, actions):
            return inner.step(actions)

    mine, theirs = GymVectorEnvAdapter(Own()), reference(SCRIPTS)
    mine.reset(), theirs.reset()
    for _ in range(8):
        np.testing.assert_array_equal(mine.step(np.zeros(3, int))[0], theirs.step(np.zeros(3, int))[0])
    with pytest.raises(AttributeError, match="no sub-environments"):
        mine.env_method("close")


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.DISABLED])
def test_rows_are_refused_without_next_step_autoreset(mode):
    mine = adapter(SCRIPTS, mode)
    mine.reset()
    assert not mine.has_reset_rows
    with pytest.raises(RuntimeError, match="Use step"):
        mine.step_rows(np.zeros(3, int))


def test_bad_calls_say_what_is_wrong():
    mine = adapter(SCRIPTS, AutoresetMode.NEXT_STEP)
    with pytest.raises(RuntimeError, match="Call reset"):
        mine.step(np.zeros(3, int))
    with pytest.raises(RuntimeError, match="without step_async"):
        mine.step_wait()
    mine.reset()
    with pytest.raises(ValueError, match=r"shape \(3,\).*got \(2,\)"):
        mine.step(np.zeros(2, int))
    with pytest.raises(ValueError, match=r"in 0\.\.4, got 0\.\.5"):
        mine.step(np.array([0, 5, 0]))
    mine.close()
    mine.close()
    with pytest.raises(RuntimeError, match="closed"):
        mine.step(np.zeros(3, int))
    with pytest.raises(RuntimeError, match="closed"):
        mine.reset()


def test_undeclared_modes_and_unsupported_spaces_are_refused():
    env = SyncVectorEnv(makers(SCRIPTS))
    env.metadata = {}
    with pytest.raises(EnvironmentNotSupportedError, match="autoreset_mode"):
        GymVectorEnvAdapter(env)
    env = SyncVectorEnv(makers(SCRIPTS))
    env.single_observation_space = gym.spaces.Tuple([gym.spaces.Text(2)])
    with pytest.raises(EnvironmentNotSupportedError, match="observation space at '0', Text"):
        GymVectorEnvAdapter(env)
    env = SyncVectorEnv(makers(SCRIPTS))
    env.single_action_space = gym.spaces.Tuple([gym.spaces.Discrete(2)])
    with pytest.raises(EnvironmentNotSupportedError, match="action space"):
        GymVectorEnvAdapter(env)


def test_same_step_without_final_observations_is_refused():
    class Forgetful(gym.vector.VectorWrapper):
        def step(self, actions):
            obs, reward, terminated, truncated, infos = self.env.step(actions)
            infos.pop("final_obs", None)
            return obs, reward, terminated, truncated, infos

    mine = GymVectorEnvAdapter(
        Forgetful(SyncVectorEnv(makers(SCRIPTS), autoreset_mode=AutoresetMode.SAME_STEP))
    )
    mine.reset()
    with pytest.raises(EnvironmentNotSupportedError, match="final_obs"):
        mine.step(np.zeros(3, int))


def test_ppo_learns_and_evaluates_on_it():
    env = GymVectorEnvAdapter(gym.make_vec("CartPole-v1", 4, vectorization_mode="sync"))
    model = PPO("MlpPolicy", env, n_steps=16, batch_size=32, n_epochs=1, seed=0, device="cpu").learn(128)
    assert len(model.ep_info_buffer) > 0
    mean, _ = evaluate_policy(model, env, n_eval_episodes=4)
    assert mean >= 5
    normalized = VecNormalize(env)
    PPO("MlpPolicy", normalized, n_steps=16, batch_size=32, n_epochs=1, device="cpu").learn(64)
