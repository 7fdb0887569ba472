"""What users of Stable-Baselines3 expect of ``learn``: counters, logs, callbacks, monitors, normalization."""

import csv

import gymnasium as gym
import numpy as np
import pytest
from sb3_contract import Countdown, build
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    CheckpointCallback,
    EvalCallback,
    EveryNTimesteps,
    StopTrainingOnMaxEpisodes,
    StopTrainingOnNoModelImprovement,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize


class Watch(BaseCallback):
    """Records the order of the hooks and the names of a step's variables."""

    def __init__(self, stop_at=None):
        super().__init__()
        self.hooks, self.stop_at, self.names = [], stop_at, set()

    def _on_training_start(self):
        self.hooks.append("training_start")

    def _on_rollout_start(self):
        self.hooks.append("rollout_start")

    def _on_step(self):
        self.names |= self.locals.keys()
        assert self.num_timesteps == self.model.num_timesteps
        return self.n_calls != self.stop_at

    def _on_rollout_end(self):
        self.hooks.append("rollout_end")

    def _on_training_end(self):
        self.hooks.append("training_end")


def test_learn_returns_the_model_and_counts_what_it_did(name):
    model = build(name)
    assert model.learn(24) is model
    assert model.num_timesteps == 24
    assert model.get_env().num_envs == 1
    assert len(model.ep_info_buffer) == 4
    assert {"r", "l", "t"} <= model.ep_info_buffer[0].keys()
    model.learn(16, reset_num_timesteps=False)
    assert model.num_timesteps == 40
    model.learn(8)
    assert model.num_timesteps == 8


def test_hooks_come_in_order_and_a_callback_may_stop_the_training(name):
    watch, model = Watch(), build(name)
    model.learn(16, callback=watch)
    assert watch.hooks[:3] == ["training_start", "rollout_start", "rollout_end"]
    assert watch.hooks[-1] == "training_end"
    assert watch.n_calls == 16
    assert {"infos", "dones", "rewards"} <= watch.names
    assert model.learn(64, callback=Watch(stop_at=5)).num_timesteps == 5
    calls = []
    model.learn(64, callback=lambda local, _: calls.append(set(local)) or len(calls) < 3)
    assert len(calls) == 3


def test_sb3s_own_callbacks_work(name, tmp_path):
    model, every = build(name), Watch()
    stop = StopTrainingOnNoModelImprovement(max_no_improvement_evals=50, min_evals=50)
    evaluation = EvalCallback(
        Monitor(Countdown()),
        callback_on_new_best=StopTrainingOnRewardThreshold(1e9),
        callback_after_eval=stop,
        n_eval_episodes=1,
        eval_freq=8,
        log_path=str(tmp_path),
        best_model_save_path=str(tmp_path),
        warn=False,
    )
    callbacks = CallbackList(
        [CheckpointCallback(16, str(tmp_path / "checkpoints")), evaluation, EveryNTimesteps(8, every)]
    )
    model.learn(32, callback=callbacks)
    assert {path.name for path in tmp_path.iterdir()} == {"best_model.zip", "checkpoints", "evaluations.npz"}
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    assert evaluation.best_mean_reward == 6.0
    assert every.n_calls == 4
    episodes = StopTrainingOnMaxEpisodes(2)
    assert model.learn(640, callback=episodes).num_timesteps < 640


def learn_with_log(model, folder, **kwargs):
    model.set_logger(configure(str(folder), ["csv", "json"]))
    model.learn(32, **kwargs)
    model.logger.close()
    with (folder / "progress.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_log_has_sb3s_keys_and_goes_where_it_is_told(name, tmp_path):
    model = build(name)
    last = learn_with_log(model, tmp_path / "all")[-1]
    assert {"time/total_timesteps", "time/fps", "rollout/ep_rew_mean", "rollout/ep_len_mean"} <= last.keys()
    assert any(key.startswith("train/") for key in last)
    assert float(last["rollout/ep_rew_mean"]) == 6.0
    assert (tmp_path / "all/progress.json").is_file()
    assert len(learn_with_log(model, tmp_path / "rarely", log_interval=2)) == 2


def normalized(env):
    return VecNormalize(env, clip_obs=5.0)


@pytest.mark.parametrize(
    ("name", "wrap"), [("ppo", VecMonitor), ("deep_spi", normalized), ("tdmpc2", normalized)]
)
def test_vector_wrappers_are_kept(name, wrap):
    env = wrap(DummyVecEnv([Countdown, Countdown]))
    model = build(name, env).learn(32)
    assert model.get_env() is env
    assert model.num_timesteps == 32
    if isinstance(env, VecNormalize):
        assert model.get_vec_normalize_env() is env
        assert env.obs_rms.count > 32
        assert np.abs(env.normalize_obs(env.get_original_obs())).max() <= 5.0


def test_evaluate_policy_counts_whole_episodes(trained, name):
    returns, lengths = evaluate_policy(trained(name), Monitor(Countdown()), 3, return_episode_rewards=True)
    assert (returns, lengths) == ([6.0] * 3, [6] * 3)


def test_an_environment_may_be_an_id_a_function_of_spaces_or_given_later(name):
    model = build(name, "Pendulum-v1")
    assert model.get_env().envs[0].spec.id == "Pendulum-v1"
    model.set_env(gym.make("Pendulum-v1"))
    with pytest.raises(ValueError, match="spaces do not match"):
        model.set_env(Countdown())


@pytest.mark.parametrize("name", ["deep_spi", "tdmpc2"])
def test_the_same_seed_makes_the_same_model(name):
    first, second = (build(name, seed=3).learn(16).get_parameters() for _ in range(2))
    for group, arrays in first.items():
        for key, value in arrays.items():
            np.testing.assert_array_equal(value, second[group][key], err_msg=f"{group}/{key}")


def test_a_minibatch_of_one_is_allowed_where_advantages_are_not_normalized():
    model = build("ppo", n_steps=1, batch_size=1, normalize_advantage=False)
    assert model.learn(2)._n_updates == 2


class WithoutOptions(Countdown):
    def reset(self, seed=None):
        return super().reset(seed=seed)


def test_an_environment_whose_reset_takes_only_a_seed_is_trained_on():
    assert build("ppo", WithoutOptions()).learn(24).num_timesteps == 24
