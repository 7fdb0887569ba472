"""EnvPool's environments through the adapter, with the real EnvPool."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from pool_histories import ATARI, actions_for, assert_same_history, breakout, by_environment, make, raw
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecFrameStack, VecMonitor, VecNormalize, VecVideoRecorder

from spi_plugins.algorithms.vec_envs import EnvPoolVecEnv, GymVectorEnvAdapter
from spi_plugins.errors import EnvironmentNotSupportedError

envpool = pytest.importorskip("envpool")


@pytest.mark.parametrize(
    ("env_id", "steps", "kwargs"),
    [("CartPole-v1", 120, {}), ("Pendulum-v1", 60, {"max_episode_steps": 20}), ("Breakout-v5", 260, ATARI)],
)
def test_step_and_rows_see_the_same_episodes(env_id, steps, kwargs):
    if env_id == "Breakout-v5":
        kwargs = {**kwargs, "max_episode_steps": 90}
    same_step = by_environment(make(env_id, **kwargs), steps, rows=False)
    next_step = by_environment(make(env_id, **kwargs), steps, rows=True)
    assert_same_history(same_step, next_step, at_least=8)


def test_terminal_observations_equal_those_of_a_single_environment():
    env, actions = make("CartPole-v1", 3), actions_for(make("CartPole-v1", 3), 100)
    env.reset()
    ends = 0
    # EnvPool seeds environment i with seed + i, whatever the number of environments.
    singles = [make("CartPole-v1", 1, seed=i).pool for i in range(3)]
    for single in singles:
        single.reset()
    for t in range(100):
        obs, _, done, infos = env.step(actions[t])
        for i, single in enumerate(singles):
            want, _, terminated, truncated, _ = single.step(actions[t, i : i + 1].astype(np.int32))
            assert done[i] == (terminated | truncated)[0]
            if done[i]:
                np.testing.assert_array_equal(infos[i]["terminal_observation"], want[0])
                want = single.step(np.zeros(1, np.int32))[0]
                ends += 1
            np.testing.assert_array_equal(obs[i], want[0])
    assert ends > 5


def test_a_lost_life_is_done_but_the_game_and_its_statistics_go_on():
    env = breakout(2, max_episode_steps=2000)
    env.reset()
    actions = actions_for(env, 700)
    lives, total, length = np.full(2, 5), np.zeros(2), np.zeros(2, int)
    lost = games = 0
    for t in range(700):
        _, reward, done, infos = env.step(actions[t])
        assert set(reward) <= {0.0, 1.0}
        for i, info in enumerate(infos):
            total[i], length[i] = total[i] + info["reward"], length[i] + 1
            if done[i] and info["lives"] > 0:
                assert info["lives"] == lives[i] - 1
                assert "episode" not in info
                assert env.reset_infos[i]["lives"] == info["lives"], "a lost life began a new game"
                lost += 1
            if info["terminated"]:
                assert done[i]
                assert (info["episode"]["r"], info["episode"]["l"]) == (total[i], length[i])
                assert env.reset_infos[i]["lives"] == 5
                total[i], length[i] = 0, 0
                games += 1
            assert ("episode" in info) == bool(info["terminated"])
            lives[i] = env.reset_infos[i]["lives"] if done[i] else info["lives"]
    assert lost > 4
    assert games > 1


def test_the_statistics_hold_the_reward_before_clipping():
    # An invader is worth 5 to 30 points.
    env = make("SpaceInvaders-v5", 3, **ATARI, max_episode_steps=80)
    env.reset()
    total, best = np.zeros(3), 0.0
    for action in actions_for(env, 170):
        rows = env.step_rows(action)
        assert set(rows.reward) <= {0.0, 1.0}
        for i, info in enumerate(rows.infos):
            total[i] += info["reward"]
            if "episode" in info:
                assert info["episode"]["r"] == total[i]
                best, total[i] = max(best, total[i]), 0.0
    assert best >= 10


def test_a_time_limit_ends_the_episode_and_is_named():
    env = breakout(2, max_episode_steps=10)
    env.reset()
    for _ in range(9):
        _, _, done, infos = env.step(np.zeros(2, int))
        assert not done.any()
    _, _, done, infos = env.step(np.zeros(2, int))
    assert done.all()
    for info in infos:
        assert info["TimeLimit.truncated"]
        assert info["episode"]["l"] == 10
        assert info["lives"] == 5


def test_a_reset_in_mid_game_begins_whole_games():
    env = breakout(2)
    env.reset()
    for action in actions_for(env, 60):
        env.step_rows(action)
    env.reset()
    assert [info["lives"] for info in env.reset_infos] == [5, 5]
    assert not env.ended.any()
    assert env.statistics.episode_length.tolist() == [0, 0]


def test_what_came_out_is_never_written_again():
    env = breakout(3)
    kept = [env.reset()]
    copies = [kept[0].copy()]
    for action in actions_for(env, 60):
        obs, reward, done, infos = env.step(action)
        new = [obs, reward, done, *(i["terminal_observation"] for i in infos if "terminal_observation" in i)]
        kept += new
        copies += [array.copy() for array in new]
    for array, copy in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_64_bit_environments_are_32_bit_here_and_have_no_compiled_steps():
    env = make("HalfCheetah-v5", 2)
    assert env.observation_space.dtype == env.action_space.dtype == np.float32
    assert env.reset().dtype == np.float32
    obs, reward, _, infos = env.step(np.full((2, 6), 0.5, np.float32))
    assert (obs.dtype, obs.shape, reward.dtype) == (np.float32, (2, 17), np.float32)
    assert type(infos[0]["x_velocity"]) is float
    assert not env.xla_supported
    with pytest.raises(EnvironmentNotSupportedError, match="has 64-bit arrays"):
        env.xla_functions()


def test_missing_bounds_are_infinite():
    # EnvPool gives the smallest positive number as the lower bound of an unbounded box.
    assert np.isneginf(make("LunarLander-v3", 1).observation_space.low).all()
    space = make("CheetahRun-v1", 1).observation_space
    assert np.isneginf(space["position"].low).all()
    assert np.isposinf(space["velocity"].high).all()


def test_dict_observations_keep_their_keys_and_dtypes():
    env = make("MiniGrid-Empty-5x5-v0", 2, max_episode_steps=4)
    obs = env.reset()
    for t in range(4):
        obs, _, done, infos = env.step(np.full(2, t % 3))
    assert done.all()
    assert set(infos[0]["terminal_observation"]) == {"direction", "image", "mission"}
    for key, space in env.observation_space.spaces.items():
        assert obs[key].dtype == space.dtype
        assert infos[0]["terminal_observation"][key].shape == space.shape
        assert space.contains(obs[key][0])


def test_the_adapter_does_a_monitors_job():
    env = make("CartPole-v1", 2)
    assert env.env_is_wrapped(Monitor) == [True, True]
    model = PPO("MlpPolicy", env, n_steps=16, batch_size=16, n_epochs=1, seed=0, device="cpu").learn(64)
    assert model.ep_info_buffer is not None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        returns, lengths = evaluate_policy(model, env, n_eval_episodes=4, return_episode_rewards=True)
    assert returns == lengths


def test_evaluation_counts_games_not_lives():
    class Random:
        def __init__(self):
            self.rng = np.random.default_rng(0)

        def predict(self, obs, state=None, episode_start=None, deterministic=False):
            return self.rng.integers(0, 4, len(obs)), None

    env = breakout(2, max_episode_steps=2000)
    _, lengths = evaluate_policy(Random(), env, n_eval_episodes=2, return_episode_rewards=True)
    # A game of five lives takes over 100 random steps, one life about 25.
    assert len(lengths) == 2
    assert min(lengths) > 80


def test_sb3_wrappers_work_on_it(tmp_path):
    env = make("CartPole-v1", 2, render_mode="rgb_array")
    normalized = VecNormalize(env)
    PPO("MlpPolicy", normalized, n_steps=16, batch_size=16, n_epochs=1, device="cpu").learn(32)
    with pytest.warns(UserWarning, match="already wrapped with a `Monitor`"):
        VecMonitor(env)
    assert env.render().shape == (800, 600, 3)
    video = VecVideoRecorder(env, str(tmp_path), lambda step: step == 0, video_length=3)
    video.reset()
    for _ in range(5):
        video.step(np.zeros(2, int))
    video.close()
    assert len(list(tmp_path.glob("*.mp4"))) == 1


def test_frames_are_stacked_with_the_true_last_frame():
    env = VecFrameStack(breakout(2, stack_num=1, max_episode_steps=6), 4)
    obs = env.reset()
    assert obs.shape == (2, 4, 42, 42)
    for _ in range(6):
        before = obs
        obs, _, done, infos = env.step(np.array([2, 3]))
    assert done.all()
    terminal = infos[0]["terminal_observation"]
    np.testing.assert_array_equal(terminal[:3], before[0, 1:])
    np.testing.assert_array_equal(obs[0, :3], 0)


def test_another_seed_than_the_pools_is_warned_about():
    env = make("CartPole-v1", 2, seed=7)
    assert env.seed(7) == [7, 8]
    assert env.seed() == [7, 8]
    with pytest.warns(UserWarning, match="keeps seed=7, and 3 is not used"):
        env.seed(3)


def test_attributes_come_from_the_pool():
    env = make("CartPole-v1", 3)
    assert env.get_attr("render_mode", indices=[0, 1]) == [None, None]
    assert env.get_images() == [None] * 3
    assert not env.has_attr("action_masks")
    with pytest.raises(AttributeError, match="cannot be changed"):
        env.set_attr("gravity", 1.0)
    with pytest.raises(AttributeError, match="only 'render'"):
        env.env_method("action_masks")


def test_pools_that_cannot_be_a_vec_env_are_refused():
    with pytest.raises(EnvironmentNotSupportedError, match="batch_size=2 of num_envs=4"):
        EnvPoolVecEnv(raw("CartPole-v1", 4, batch_size=2))
    with pytest.raises(TypeError, match="env_type='gymnasium'"):
        EnvPoolVecEnv(envpool.make("CartPole-v1", env_type="dm", num_envs=2))
    with pytest.raises(TypeError, match="got str"):
        EnvPoolVecEnv("CartPole-v1")
    assert EnvPoolVecEnv(envpool.make("CartPole-v1", env_type="gym", num_envs=2)).num_envs == 2


def test_bad_calls_say_what_is_wrong():
    env = breakout(2)
    with pytest.raises(RuntimeError, match="Call reset"):
        env.step_rows(np.zeros(2, int))
    env.set_options({"level": 1})
    with pytest.raises(ValueError, match="no options"):
        env.reset()
    env.set_options()
    env.reset()
    with pytest.raises(ValueError, match=r"in 0\.\.3"):
        env.step(np.array([0, 4]))
    env.close()
    with pytest.raises(RuntimeError, match="closed"):
        env.step(np.zeros(2, int))


def test_a_vector_wrapper_around_a_pool_is_an_ordinary_vector_env():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # EnvPool's space has float64 bounds
        wrapped = gym.wrappers.vector.RecordEpisodeStatistics(raw("CartPole-v1", 3))
        env, plain = GymVectorEnvAdapter(wrapped), make("CartPole-v1", 3)
    np.testing.assert_array_equal(env.reset(), plain.reset())
    ends = 0
    for action in actions_for(plain, 80):
        got, want = env.step(action), plain.step(action)
        np.testing.assert_array_equal(got[0], want[0])
        for mine, theirs in zip(got[3], want[3], strict=True):
            assert ("terminal_observation" in mine) == ("terminal_observation" in theirs)
            if "terminal_observation" in mine:
                ends += 1
                np.testing.assert_array_equal(mine["terminal_observation"], theirs["terminal_observation"])
                assert mine["episode"]["l"] == theirs["episode"]["l"]
    assert ends > 5
    lives = GymVectorEnvAdapter(gym.wrappers.vector.RecordEpisodeStatistics(raw("Breakout-v5", 2, **ATARI)))
    lives.reset()
    assert lives.step_rows(np.zeros(2, int)).obs.shape == (2, 4, 42, 42)
    with pytest.raises(EnvironmentNotSupportedError, match="step_rows"):
        lives.step(np.zeros(2, int))
