"""SB3's callbacks see the order, the frequency and the locals that SB3 documents, on every path."""

import threading

import numpy as np
import pytest
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CheckpointCallback,
    EvalCallback,
    ProgressBarCallback,
    StopTrainingOnMaxEpisodes,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.evaluation import evaluate_policy
from tiny_models import CARTPOLE, N_ENVS, N_STEPS, PATHS, UPDATES, tiny_ppo

from spi_plugins import PPO
from spi_plugins.algorithms.vec_envs import FunctionalVecEnv

# SB3 silences it, which pytest undoes.
no_rich_warning = pytest.mark.filterwarnings("ignore::tqdm.TqdmExperimentalWarning")


class Recorder(BaseCallback):
    """Writes down every hook, and what each step shows."""

    def __init__(self, stop_at=None):
        super().__init__()
        self.stop_at = stop_at
        self.events = []
        self.steps = []

    def _init_callback(self):
        self.events.append("init")

    def _on_training_start(self):
        self.events.append("training start")
        self.target = self.locals["total_timesteps"]

    def _on_rollout_start(self):
        self.events.append("rollout start")

    def _on_step(self):
        self.events.append("step")
        rewards, dones, infos = (self.locals[name] for name in ("rewards", "dones", "infos"))
        self.steps.append((self.num_timesteps, rewards, dones, infos))
        return self.n_calls != self.stop_at

    def _on_rollout_end(self):
        self.events.append("rollout end")

    def _on_training_end(self):
        self.events.append("training end")


@pytest.mark.parametrize("path", PATHS)
def test_hooks_come_in_sb3s_order_with_sb3s_locals(path):
    model, recorder = tiny_ppo(path), Recorder()
    model.learn(24, callback=recorder)
    rollout = ["rollout start", *["step"] * N_STEPS, "rollout end"]
    assert recorder.events == ["init", "training start", *rollout * 3, "training end"]
    assert [step[0] for step in recorder.steps] == list(range(N_ENVS, 24 + 1, N_ENVS))
    reported = 0
    for _, rewards, dones, infos in recorder.steps:
        np.testing.assert_array_equal(rewards, np.ones(N_ENVS, np.float32))
        assert rewards.dtype == np.float32
        assert dones.dtype == bool
        assert len(dones) == len(infos) == N_ENVS
        assert [("episode" in info) for info in infos] == dones.tolist()
        reported += dones.sum()
    assert len(model.ep_info_buffer) == reported
    assert reported or path == "gymnasium"


@pytest.mark.parametrize("path", ["compiled", "stepped"])
def test_a_callback_that_returns_false_stops_at_once_and_training_can_go_on(path):
    model, recorder = tiny_ppo(path), Recorder(stop_at=6)
    model.learn(100, callback=recorder)
    assert recorder.events[-2:] == ["step", "training end"]
    assert len(recorder.steps) == 6
    # The compiled iteration has run to its end, update included: the model stands there.
    at = 16 if path == "compiled" else 12
    assert model.num_timesteps == at
    assert model._n_updates == UPDATES * (2 if path == "compiled" else 1)
    model.learn(8, reset_num_timesteps=False)
    assert model.num_timesteps == at + 8


@no_rich_warning
def test_training_that_goes_on_tells_callbacks_where_it_ends():
    model = tiny_ppo().learn(16)
    recorder, bar = Recorder(), ProgressBarCallback()
    model.learn(24, callback=[recorder, bar], reset_num_timesteps=False)
    assert recorder.target == model.num_timesteps == 40
    assert (bar.pbar.n, bar.pbar.total) == (24, 24)


def test_the_progress_bar_shows_steps_return_and_speed(capsys):
    model = tiny_ppo().learn(32, progress_bar=True)
    mean = np.mean([info["r"] for info in model.ep_info_buffer])
    shown = capsys.readouterr().out
    assert "32/32" in shown
    assert f"return {mean:.3g} " in shown
    assert " fps" in shown


def test_an_interrupted_training_leaves_no_progress_bar_behind(capsys):
    class Break(BaseCallback):
        def _on_step(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny_ppo().learn(32, Break(), progress_bar=True)
    for thread in threading.enumerate():
        if type(thread).__module__.startswith("rich."):
            thread.join(timeout=5)  # it has been told to end
            assert not thread.is_alive()


def test_eval_and_checkpoint_callbacks_fire_at_their_frequency(tmp_path):
    model = tiny_ppo()
    evaluation = EvalCallback(
        FunctionalVecEnv(CARTPOLE, 1, seed=3),
        eval_freq=6,
        n_eval_episodes=2,
        best_model_save_path=str(tmp_path),
        log_path=str(tmp_path),
        verbose=0,
    )
    model.learn(48, callback=[evaluation, CheckpointCallback(5, str(tmp_path), "model")])
    stored = np.load(tmp_path / "evaluations.npz")
    np.testing.assert_array_equal(stored["timesteps"], [12, 24, 36, 48])
    np.testing.assert_array_equal(stored["results"], stored["ep_lengths"])
    assert stored["results"].max() <= 9
    names = {f"model_{steps}_steps.zip" for steps in (10, 20, 30, 40)}
    assert {path.name for path in tmp_path.glob("*.zip")} == {*names, "best_model.zip"}
    means = stored["results"].mean(axis=1)
    assert evaluation.best_mean_reward == means.max()
    best = PPO.load(tmp_path / "best_model")
    assert best.num_timesteps == -(-stored["timesteps"][means.argmax()] // 8) * 8  # its iteration's end


def test_a_reward_threshold_stops_training():
    stop = StopTrainingOnRewardThreshold(reward_threshold=1.0)
    env = FunctionalVecEnv(CARTPOLE, 1, seed=3)
    evaluation = EvalCallback(env, callback_on_new_best=stop, eval_freq=3, n_eval_episodes=1, verbose=0)
    model = tiny_ppo("stepped").learn(1000, callback=evaluation)
    assert model.num_timesteps == 6


@pytest.mark.parametrize("path", ["compiled", "stepped"])
def test_a_number_of_episodes_stops_training(path):
    stop = StopTrainingOnMaxEpisodes(max_episodes=2)
    model = tiny_ppo(path).learn(10_000, callback=stop)
    assert stop.n_episodes >= 2 * N_ENVS
    # Episodes last 8 or 9 steps.
    assert stop.num_timesteps in {32, 34, 36}
    assert 32 <= model.num_timesteps <= 40


def test_evaluate_policy_runs_on_one_environment_and_on_many():
    model = tiny_ppo("gymnasium")
    for env in (model.get_env(), FunctionalVecEnv(CARTPOLE, 3, seed=0)):
        rewards, lengths = evaluate_policy(model, env, n_eval_episodes=4, return_episode_rewards=True)
        assert len(rewards) == 4
        assert rewards == lengths
