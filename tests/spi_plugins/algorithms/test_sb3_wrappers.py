"""SB3's vector wrappers around what we train on, and the card's one line on real Atari frames."""

import subprocess
import sys

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecVideoRecorder,
)
from tiny_models import CARTPOLE, ROLLOUT, SMALL
from toy_envs import ToyEnv

from spi_plugins import PPO
from spi_plugins.algorithms.step_collector import StepCollector
from spi_plugins.algorithms.vec_envs import FunctionalVecEnv


def toys(**kwargs):
    return DummyVecEnv([lambda: ToyEnv(**kwargs)] * 2)


def test_observations_and_rewards_are_normalized_and_the_statistics_reach_the_evaluation(tmp_path):
    wide = spaces.Box(100, 300, (3,), np.float32)
    model = PPO("MlpPolicy", VecNormalize(toys(observation_space=wide)), **SMALL)
    normalize = model.get_vec_normalize_env()
    assert normalize is model.get_env()
    evaluation_env = VecNormalize(VecMonitor(toys(observation_space=wide)), training=False, norm_reward=False)
    evaluation = EvalCallback(evaluation_env, eval_freq=8, n_eval_episodes=2, verbose=0)
    seen = []
    evaluation.on_rollout_end = lambda: seen.append(model._collector._host.reward.copy())
    model.learn(10 * ROLLOUT, callback=evaluation)
    assert type(model._collector) is StepCollector
    assert normalize.obs_rms.count > 10 * ROLLOUT
    np.testing.assert_allclose(evaluation_env.obs_rms.mean, normalize.obs_rms.mean)
    np.testing.assert_allclose(normalize.obs_rms.mean, 200, atol=30)
    assert np.abs(model._last_obs).max() < 5
    assert evaluation.best_mean_reward == 5  # the unnormalized return
    assert np.max(seen) != 1
    # A checkpoint and its statistics, as SB3's users keep them.
    model.save(tmp_path / "model")
    normalize.save(str(tmp_path / "statistics.pkl"))
    restored = VecNormalize.load(str(tmp_path / "statistics.pkl"), toys(observation_space=wide))
    loaded = PPO.load(tmp_path / "model", env=restored)
    assert loaded.get_vec_normalize_env() is restored
    loaded.learn(ROLLOUT, reset_num_timesteps=False)


def test_normalized_terminal_observations_are_what_time_limits_are_bootstrapped_from():
    model = PPO("MlpPolicy", VecNormalize(toys()), **{**SMALL, "n_steps": 10, "batch_size": 20})
    model.learn(20)
    host = model._collector._host
    # The first episode ends by itself after 5 steps, the second by the limit.
    np.testing.assert_array_equal(np.flatnonzero(host.terminated[:, 0]), [4])
    np.testing.assert_array_equal(np.flatnonzero(host.truncated[:, 0]), [9])
    assert (host.final_value[9] != 0).all()
    assert (host.final_value[:9] == 0).all()


def test_frames_are_stacked():
    model = PPO("MlpPolicy", VecFrameStack(toys(), 3), **SMALL).learn(2 * ROLLOUT)
    assert model.observation_space.shape == (9,)
    assert model.predict(np.zeros(9))[0].shape == ()


def test_episodes_are_monitored_and_written_down(tmp_path):
    env = VecMonitor(toys(), str(tmp_path / "log"))
    model = PPO("MlpPolicy", env, **SMALL).learn(3 * ROLLOUT)
    assert [episode["r"] for episode in model.ep_info_buffer] == [5, 5] * 2
    env.close()
    assert len((tmp_path / "log.monitor.csv").read_text().splitlines()) == 2 + 4
    mean, deviation = evaluate_policy(model, VecMonitor(toys()), n_eval_episodes=3)
    assert (mean, deviation) == (5, 0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # in moviepy's own imports
def test_videos_are_recorded_while_training(tmp_path):
    env = VecVideoRecorder(
        toys(render_mode="rgb_array"),
        str(tmp_path),
        record_video_trigger=lambda step: step == 3,
        video_length=4,
    )
    model = PPO("MlpPolicy", env, **SMALL).learn(2 * ROLLOUT)
    model.get_env().close()
    (video,) = tmp_path.glob("*.mp4")
    assert video.stat().st_size > 0


def test_functional_environments_can_be_wrapped_too():
    env = VecNormalize(FunctionalVecEnv(CARTPOLE, 2, seed=0), norm_obs=False)
    model = PPO("MlpPolicy", env, **SMALL).learn(3 * ROLLOUT)
    assert type(model._collector) is StepCollector
    assert all(episode["r"] == episode["l"] for episode in model.ep_info_buffer)


CARD = """
import spi_plugins
from spi_integrations.envpool import make_vec

spi_plugins.DeepSPI.default_total_timesteps = 2 * 8 * 4  # ten millions, otherwise
envpool_env = make_vec("Pong-v5", num_envs=4, img_height=36, img_width=36)

from spi_plugins import DeepSPI

model = DeepSPI("CnnPolicy", envpool_env, n_steps=8).learn()
"""


def test_the_card_trains_on_atari_frames_as_it_is_written():
    pytest.importorskip("envpool")
    script = CARD + "assert model.num_timesteps == 64 and model.observation_space.shape == (4, 36, 36)\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
