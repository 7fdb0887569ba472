"""What `save` leaves out, where `load` goes on, statistics of VecNormalize, and buffers before training."""

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecCheckNan, VecNormalize
from tiny_models import CARTPOLE, N_ENVS, POINT_GOAL, ROLLOUT, SMALL, tiny_ppo, tiny_tdmpc2

from spi_plugins import PPO, TDMPC2
from spi_plugins.algorithms.vec_envs import FunctionalVecEnv


def test_excluded_arguments_have_their_defaults_and_included_ones_are_kept(tmp_path):
    model = tiny_ppo(verbose=2, gamma=0.5)
    model.save(tmp_path / "model", exclude=["verbose", "gamma", "unknown"], include=["gamma"])
    loaded = PPO.load(tmp_path / "model")
    assert (loaded.verbose, loaded.gamma) == (0, 0.5)


class Counting(gym.Wrapper):
    resets = 0

    def reset(self, **kwargs):
        self.resets += 1
        return super().reset(**kwargs)


def test_load_without_a_reset_goes_on_in_the_running_episode(tmp_path):
    env = Counting(gym.make("Pendulum-v1"))
    model = PPO("MlpPolicy", env, **{**SMALL, "n_steps": 8}).learn(8)
    last = np.array(model._last_obs)
    model.save(tmp_path / "model")
    again = PPO.load(tmp_path / "model", env=model.get_env(), force_reset=False)
    np.testing.assert_array_equal(again._last_obs, last)
    again.learn(8, reset_num_timesteps=False)
    assert env.resets == 1
    PPO.load(tmp_path / "model", env=env).learn(8, reset_num_timesteps=False)
    assert env.resets == 2


def normalized():
    return VecNormalize(FunctionalVecEnv(CARTPOLE, N_ENVS, seed=0))


class SaveInside(BaseCallback):
    def __init__(self, path):
        super().__init__()
        self.path = path

    def _on_step(self):
        if self.num_timesteps == 2 * ROLLOUT + N_ENVS:
            self.model.save(self.path)
        return True


def test_training_under_vec_normalize_goes_on_exactly(tmp_path):
    path = tmp_path / "model.zip"
    constant = {**SMALL, "learning_rate": 1e-3}
    whole = PPO("MlpPolicy", normalized(), **constant).learn(4 * ROLLOUT, SaveInside(path))
    resumed = PPO.load(path, env=normalized())
    assert resumed.num_timesteps == 2 * ROLLOUT  # the rollout is made again
    resumed.learn(2 * ROLLOUT, reset_num_timesteps=False)
    expected = whole.get_parameters()["policy"]
    for name, value in resumed.get_parameters()["policy"].items():
        np.testing.assert_array_equal(value, expected[name])
    moments = [model.get_vec_normalize_env().obs_rms.mean for model in (whole, resumed)]
    np.testing.assert_array_equal(*moments)


def test_other_environments_get_their_statistics_back_unless_they_have_some(tmp_path):
    model = PPO("MlpPolicy", normalized(), **SMALL).learn(ROLLOUT)
    model.save(tmp_path / "model")
    mean = model.get_vec_normalize_env().obs_rms.mean
    fresh = normalized()
    PPO.load(tmp_path / "model", env=fresh, force_reset=True)
    np.testing.assert_array_equal(fresh.obs_rms.mean, mean)
    used = normalized()
    used.reset()
    own = used.obs_rms.mean.copy()
    PPO.load(tmp_path / "model", env=used, force_reset=True)
    np.testing.assert_array_equal(used.obs_rms.mean, own)
    with pytest.warns(UserWarning, match="trained under VecNormalize, but env is not wrapped"):
        PPO.load(tmp_path / "model", env=FunctionalVecEnv(CARTPOLE, N_ENVS))


def test_a_functional_environment_that_cannot_be_restored_is_reported(tmp_path):
    tiny_ppo().learn(ROLLOUT).save(tmp_path / "model")
    env = VecCheckNan(FunctionalVecEnv(CARTPOLE, N_ENVS))
    with pytest.warns(UserWarning, match="behind VecCheckNan is not part of the file"):
        PPO.load(tmp_path / "model", env=env)
    PPO.load(tmp_path / "model", env=env, force_reset=True)


def test_the_replay_buffer_is_there_before_training_and_after_a_load(tmp_path):
    model = tiny_tdmpc2()
    model.save_replay_buffer(tmp_path / "buffer.npz")
    model.save(tmp_path / "model")
    loaded = TDMPC2.load(tmp_path / "model")
    assert int(loaded.replay_buffer.size.sum()) == 0
    loaded.load_replay_buffer(tmp_path / "buffer.npz")
    loaded.set_env(POINT_GOAL)
    loaded.learn(8)
    assert int(loaded.replay_buffer.size.sum()) > 0


class ReadLocals(BaseCallback):
    def _on_step(self):
        read = self.locals
        shapes = {name: np.shape(read[name]) for name in ("clipped_actions", "values", "log_probs")}
        assert shapes == dict.fromkeys(shapes, (N_ENVS,))
        assert (np.asarray(read["log_probs"]) < 0).all()
        with pytest.raises(AttributeError, match=r"no rollout buffer to read 'rewards' from.*self\.locals"):
            _ = read["rollout_buffer"].rewards
        return True


@pytest.mark.parametrize("path", ["compiled", "stepped"])
def test_callbacks_find_values_and_log_probabilities(path):
    tiny_ppo(path).learn(ROLLOUT, ReadLocals())


class KeepActions(BaseCallback):
    def __init__(self):
        super().__init__()
        self.sampled, self.executed = [], []

    def _on_step(self):
        self.sampled.append(np.array(self.locals["actions"]))
        self.executed.append(np.array(self.locals["clipped_actions"]))
        return True


def test_callbacks_find_sampled_and_executed_actions_on_both_paths():
    kept = []
    for compiled in (None, False):
        keep = KeepActions()
        PPO("MlpPolicy", POINT_GOAL, n_envs=N_ENVS, compiled=compiled, **SMALL).learn(ROLLOUT, keep)
        sampled, executed = np.stack(keep.sampled), np.stack(keep.executed)
        assert np.abs(sampled).max() > 1.0
        np.testing.assert_array_equal(executed, np.clip(sampled, -1.0, 1.0))
        kept.append(sampled)
    np.testing.assert_array_equal(*kept)
