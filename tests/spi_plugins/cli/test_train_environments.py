"""``spi train`` on environments of every kind."""

import json
import pathlib

import gymnasium
import pytest

from spi_plugins.cli.progress_rows import read_progress

SHORT = ("-p", "n_steps=32", "batch_size=32", "n_epochs=1", "device='cpu'")


def steps_of(run):
    return [int(row["time/total_timesteps"]) for row in read_progress(run / "progress.csv")]


def test_a_plugins_gymnasium_environment_is_copied(train, plugin):
    made = []

    def make(length=10):
        made.append(length)
        return gymnasium.make("CartPole-v1", max_episode_steps=length)

    mine = plugin("envs_plugin", register_envs=lambda register: register("mine/Short-v0", make))
    words = [
        "train",
        "sb3_ppo",
        "--env",
        "mine/Short-v0",
        "--env-kwargs",
        "length=7",
        "--n-envs",
        3,
        "-n",
        96,
    ]
    done = train(*words, *SHORT, "--eval-episodes", 2, plugins=[mine])
    assert done.code == 0, done.err
    assert made == [7] * 5  # three to train on, two to evaluate on
    evaluation = json.loads(pathlib.Path("runs/sb3_ppo/mine-Short-v0_1/evaluation.json").read_text())
    assert evaluation["lengths"] == [7, 7]


def test_a_familys_environment_is_made_with_number_and_seed(train, plugin):
    calls = []

    def make_vec(env_id, *, num_envs, seed, **kwargs):
        calls.append((env_id, num_envs, seed, kwargs))
        return gymnasium.make_vec(env_id, num_envs=num_envs, vectorization_mode="sync")

    mine = plugin("family_plugin", register_envs=lambda register: register("mine", make_vec, family=True))
    words = [
        "train",
        "sb3_ppo",
        "--env",
        "mine:CartPole-v1",
        "--n-envs",
        2,
        "--seed",
        4,
        "--env-kwargs",
        "a=1",
    ]
    done = train(*words, "-n", 64, *SHORT, "--eval-episodes", 1, plugins=[mine])
    assert done.code == 0, done.err
    assert calls == [("CartPole-v1", 2, 4, {"a": 1}), ("CartPole-v1", 1, 1_000_007, {"a": 1})]


def test_an_envpool_environment_trains_and_goes_on(train):
    pytest.importorskip("envpool")
    words = ["train", "sb3_ppo", "--env", "envpool:CartPole-v1", "--n-envs", 2, "-n", 64, *SHORT]
    done = train(*words, "--eval-episodes", 1)
    assert done.code == 0, done.err
    assert "in 1 deterministic episode:" in done.out
    done = train(
        "train",
        "--trust-imports",
        "--resume",
        "runs/sb3_ppo/envpool-CartPole-v1_1",
        "-n",
        64,
        "--eval-episodes",
        0,
    )
    assert done.code == 0, done.err


def test_a_functional_environment_trains_any_algorithm(train):
    words = [
        "train",
        "sb3_ppo",
        "--env",
        "spi/CartPole-v0",
        "--n-envs",
        2,
        "-n",
        64,
        *SHORT,
        "--eval-episodes",
        1,
    ]
    done = train(*words)
    assert done.code == 0, done.err
    assert (pathlib.Path("runs/sb3_ppo/spi-CartPole-v0_1") / "model.zip").exists()


def test_our_own_ppo_trains_stops_and_goes_on(train):
    run = pathlib.Path("runs/ppo/spi-CartPole-v0_1")
    words = [
        "train",
        "ppo",
        "--env",
        "spi/CartPole-v0",
        "--n-envs",
        4,
        "--no-preset",
        "--eval-episodes",
        2,
        "-p",
        "n_steps=8",
    ]
    done = train(*words, "-n", 320, "--callback", "ctrl_c", "at=10")
    assert done.code == 130, done.err
    assert "Stopped after 64 steps" in done.out
    done = train("train", "--trust-imports", "--resume", run, "--callback", "ctrl_c", "at=100000")
    assert done.code == 0, done.err
    assert json.loads((run / "evaluation.json").read_text())["num_timesteps"] == 320
