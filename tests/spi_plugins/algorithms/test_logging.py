"""What the loggers get: SB3's keys, the diagnostics of the update, at the interval that was asked for."""

import csv
import json

import numpy as np
import pytest
from stable_baselines3.common.logger import configure
from stable_baselines3.common.utils import LinearSchedule
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_models import ROLLOUT, SMALL, UPDATES, tiny_deep_spi, tiny_ppo

from spi_plugins import PPO
from spi_plugins.envs.probe import make_box_target, make_cost_conflict

EVERY_TIME = {f"time/{name}" for name in ("fps", "iterations", "time_elapsed", "total_timesteps")}
EPISODES = {
    f"rollout/{name}"
    for name in ("ep_rew_mean", "ep_rew_std", "ep_len_mean", "ep_cost_mean", "ep_cost_std", "cost_rate")
}
UPDATE = {
    f"train/{name}"
    for name in (
        *("learning_rate", "clip_range", "n_updates", "loss", "policy_gradient_loss", "value_loss"),
        *("entropy_loss", "approx_kl", "clip_fraction", "explained_variance", "grad_norm"),
        *("ratio_min", "ratio_max", "ratio_outside"),
    )
}
MODEL = {
    f"train/{name}"
    for name in ("reward_loss", "transition_loss", "termination_loss", "gradient_penalty", "latent_norm")
}


def rows(folder, *_):
    with open(folder / "progress.csv") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def log_to():
    """Give a model a logger that writes into a folder, and close it in the end."""
    loggers = []

    def set_logger(model, folder, formats=("csv",)):
        loggers.append(configure(str(folder), list(formats)))
        model.set_logger(loggers[-1])

    yield set_logger
    for logger in loggers:
        logger.close()


@pytest.mark.parametrize("path", ["compiled", "stepped"])
def test_the_keys_of_sb3s_dashboards_and_of_the_certificate_are_logged(tmp_path, log_to, path):
    model = tiny_deep_spi(path, learning_rate="lin_2.5e-4")
    log_to(model, tmp_path, ["csv", "json"])
    model.learn(6 * ROLLOUT)
    assert set(rows(tmp_path)[-1]) == EVERY_TIME | EPISODES | UPDATE | MODEL
    lines = [json.loads(line) for line in (tmp_path / "progress.json").read_text().splitlines()]
    assert [line["time/total_timesteps"] for line in lines] == [8, 16, 24, 32, 40, 48]
    # As with SB3, the update's numbers come with the next dump. The first episode takes at least 8 steps.
    assert set(lines[0]) == EVERY_TIME
    assert set(lines[-1]) == EVERY_TIME | EPISODES | UPDATE | MODEL
    assert lines[-1]["rollout/ep_rew_mean"] == lines[-1]["rollout/ep_len_mean"] >= 8
    for n, line in enumerate(lines[1:], 1):
        assert np.isfinite(list(line.values())).all()
        assert line["train/n_updates"] == UPDATES * n
        assert 0 < line["train/ratio_min"] <= 1 <= line["train/ratio_max"]
        assert 0 <= line["train/ratio_outside"] <= 1
        assert 0 <= line["train/clip_fraction"] <= 1
        assert line["train/approx_kl"] >= 0
        assert line["train/transition_loss"] > 0
        assert line["train/learning_rate"] == pytest.approx(2.5e-4 * (1 - n / 6))


def test_costs_of_episodes_are_averaged(tmp_path, log_to):
    model = PPO("MlpPolicy", make_cost_conflict(), n_envs=16, **SMALL)
    log_to(model, tmp_path)
    last = rows(tmp_path, model.learn(64))[-1]
    cost = float(last["rollout/ep_cost_mean"])
    assert 0.2 < cost < 0.8
    # Action 1 pays 1 and costs 1, action 0 pays 0.5: the mean return follows from the mean cost.
    assert float(last["rollout/ep_rew_mean"]) == pytest.approx(0.5 + 0.5 * cost)


def test_a_logger_that_was_set_is_kept_and_gets_a_gaussian_policys_deviation(tmp_path, log_to):
    model = PPO("MlpPolicy", make_box_target(), n_envs=2, **SMALL)
    log_to(model, tmp_path)
    model.learn(8).learn(16, reset_num_timesteps=False)
    assert [int(row["time/total_timesteps"]) for row in rows(tmp_path)] == [8, 16, 24]
    assert float(rows(tmp_path)[-1]["train/std"]) == pytest.approx(1.0, abs=0.01)


def test_tensorboard_gets_the_run_under_its_name(tmp_path):
    model = tiny_ppo(tensorboard_log=str(tmp_path))
    for name, reset in (("try", True), ("try", False), (None, True)):
        model.learn(32 if reset else 8, tb_log_name=name, reset_num_timesteps=reset)
        model.logger.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["PPO_1", "try_1"]
    events = EventAccumulator(str(tmp_path / "try_1")).Reload()
    assert {"rollout/ep_rew_mean", "time/fps", "train/ratio_max"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("time/fps")] == [8, 16, 24, 32, 40]


def test_log_interval_counts_iterations_and_none_is_silence(tmp_path, log_to):
    model = tiny_ppo()
    for interval, expected in ((2, [16, 32]), (None, [])):
        folder = tmp_path / str(interval)
        log_to(model, folder)
        model.learn(40, log_interval=interval)
        assert [int(row["time/total_timesteps"]) for row in rows(folder)] == expected


def test_verbose_prints_the_table_and_silence_is_the_default(capsys):
    tiny_ppo(verbose=1).learn(32)
    printed = capsys.readouterr().out
    assert "Using cpu device" in printed
    assert "ep_rew_mean" in printed
    tiny_ppo().learn(32)
    assert capsys.readouterr().out == ""


def test_running_means_are_over_the_window():
    model = tiny_ppo(stats_window_size=3).learn(96)
    assert len(model.ep_info_buffer) == model.ep_info_buffer.maxlen == 3


@pytest.mark.parametrize("path", ["compiled", "stepped"])
def test_schedules_follow_the_remaining_progress(tmp_path, log_to, path):
    schedules = {
        "learning_rate": LinearSchedule(0.1, 0.0, 0.5),
        "clip_range": lambda remaining: 0.1 + remaining,
        "clip_range_vf": "lin_1.0",
    }
    model = tiny_ppo(path, **schedules)
    log_to(model, tmp_path)
    model.learn(5 * ROLLOUT)
    lines = rows(tmp_path)[1:]
    # At four fifths of the way and so on; the linear one ends halfway.
    assert [float(line["train/learning_rate"]) for line in lines] == pytest.approx(
        [0.06, 0.02, 0, 0], abs=1e-7
    )
    assert [float(line["train/clip_range"]) for line in lines] == pytest.approx([0.9, 0.7, 0.5, 0.3])
    assert [float(line["train/clip_range_vf"]) for line in lines] == pytest.approx([0.8, 0.6, 0.4, 0.2])


def test_a_learning_rate_of_zero_changes_no_parameter():
    model = tiny_ppo(learning_rate=lambda remaining: 0.0)
    before = model.get_parameters()["policy"]
    after = model.learn(32).get_parameters()["policy"]
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_schedule_that_leaves_its_range_is_reported():
    model = tiny_ppo(learning_rate=lambda remaining: remaining - 0.5)
    with pytest.raises(
        ValueError, match=r"The schedule learning_rate returned -0\.\d+; it must return finite numbers"
    ):
        model.learn(64)
