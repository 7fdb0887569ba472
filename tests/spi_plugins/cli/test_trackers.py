"""``--track``: each service gets settings and log, without a network."""

import contextlib
import importlib.util
import json
import sqlite3
from typing import ClassVar

import pytest

from spi_plugins.cli import trackers
from spi_plugins.cli.trackers import TrackedRun, Tracker


def follow(service, folder):
    """Two rows and an evaluation, with an interruption between."""
    folder.mkdir()
    config = {"algorithm": "ppo", "hyperparameters": {"learning_rate": "lin_0.001"}, "preset": None}
    run = TrackedRun("my-project", "ppo CartPole-v1", config, folder)
    first = Tracker(service, run)
    first.write(
        {"rollout/ep_rew_mean": 1.5, "time/name": "text"}, {"rollout/ep_rew_mean": (), "time/name": ()}, 64
    )
    first.close()
    second = Tracker(service, run)
    second.write({"rollout/ep_rew_mean": 2.5}, {"rollout/ep_rew_mean": ()}, 128)
    second.conclude({"mean_return": 9.0, "deterministic": True, "returns": [9.0]}, 128)
    second.close()


def test_mlflow_has_one_run_with_params_and_metrics(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    follow("mlflow", tmp_path / "CartPole-v1_1")
    (learning_rate,) = (tmp_path / "store").rglob("params/hyperparameters.learning_rate")
    assert learning_rate.read_text() == "lin_0.001"
    (metric,) = (tmp_path / "store").rglob("metrics/rollout/ep_rew_mean")
    assert [line.split()[1:] for line in metric.read_text().splitlines()] == [["1.5", "64"], ["2.5", "128"]]
    (evaluation,) = (tmp_path / "store").rglob("metrics/evaluation/mean_return")
    assert evaluation.read_text().split()[1:] == ["9.0", "128"]


def test_trackio_has_one_run_with_config_and_metrics(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # before the import
    follow("trackio", tmp_path / "CartPole-v1_1")
    (database,) = (tmp_path / "trackio").glob("my-project*.db")
    with contextlib.closing(sqlite3.connect(database)) as opened:
        rows = opened.execute("select run_name, step, metrics from metrics order by step").fetchall()
        configs = opened.execute("select config from configs").fetchall()
    assert {name for name, *_ in rows} == {f"{tmp_path.name}-CartPole-v1_1"}
    steps = [(step, json.loads(metrics)) for _, step, metrics in rows]
    assert steps[0] == (64, {"rollout/ep_rew_mean": 1.5})
    assert {"rollout/ep_rew_mean": 2.5} in [metrics for _, metrics in steps[1:]]
    assert steps[-1][1]["evaluation/mean_return"] == 9.0
    assert json.loads(configs[0][0])["hyperparameters"] == {"learning_rate": "lin_0.001"}


def test_wandb_has_one_run_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    follow("wandb", tmp_path / "CartPole-v1_1")
    importlib.import_module("wandb").teardown()  # its process writes the file
    written = list(tmp_path.rglob("*.wandb"))
    content = b"".join(path.read_bytes() for path in written)
    assert len({path.name for path in written}) == 1  # two parts of one run
    for text in (b"rollout/ep_rew_mean", b"evaluation/mean_return", b"lin_0.001", b"my-project"):
        assert text in content


class Memory:
    """A service that remembers what it is told."""

    told: ClassVar[list] = []

    @classmethod
    def start(cls, run, known):
        cls.told.append((run.project, run.config["n_timesteps"], known))
        return trackers.Session("id-1", lambda values, step: cls.told.append((step, values)), lambda: None)


def test_a_run_and_its_continuation_send_settings_log_and_evaluation(train, monkeypatch):
    monkeypatch.setitem(trackers.STARTS, "wandb", Memory.start)
    monkeypatch.setattr(Memory, "told", [])
    short = ("--n-envs", 2, "-p", "n_steps=32", "batch_size=32", "n_epochs=1", "device='cpu'")
    words = ("train", "sb3_ppo", "--env", "CartPole-v1", "-n", 64, "--eval-episodes", 1, *short)
    assert train(*words, "--track", "--track-project", "mine").code == 0
    settings, row, evaluation = Memory.told
    assert settings == ("mine", 64, None)
    assert (row[0], "rollout/ep_rew_mean" in row[1]) == (64, True)
    assert evaluation[1]["evaluation/n_episodes"] == 1
    Memory.told.clear()
    run = "runs/sb3_ppo/CartPole-v1_1"
    assert train("train", "--trust-imports", "--resume", run, "-n", 64).code == 0
    assert (Memory.told[0], Memory.told[1][0]) == (("mine", 128, "id-1"), 128)


def test_a_service_that_cannot_start_is_named(train, monkeypatch):
    def refuse(run, known):
        raise RuntimeError("no key")

    monkeypatch.setitem(trackers.STARTS, "wandb", refuse)
    done = train("train", "sb3_ppo", "--env", "CartPole-v1", "-n", 64, "--n-envs", 1, "--track", "wandb")
    assert done.code == 3
    assert "Starting wandb failed: RuntimeError: no key" in done.err


def test_a_service_that_fails_later_does_not_end_the_run(train, monkeypatch):
    def fail(values, step):
        raise ConnectionError("gone")

    monkeypatch.setitem(trackers.STARTS, "wandb", lambda run, known: trackers.Session("id-1", fail, fail))
    short = (
        "--n-envs",
        2,
        "-p",
        "n_steps=32",
        "batch_size=32",
        "n_epochs=1",
        "device='cpu'",
        "--eval-episodes",
        0,
    )
    done = train("train", "sb3_ppo", "--env", "CartPole-v1", "-n", 128, *short, "--track", "wandb")
    assert (done.code, done.err.count("gets no more of this run: ConnectionError: gone")) == (0, 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--track", "wandbb"), "--track 'wandbb' is unknown. Did you mean 'wandb'?"),
        (
            ("--track", "trackio"),
            "package 'trackio', which is not installed: pip install trackio",
        ),
    ],
)
def test_an_unknown_or_missing_service_is_one_line(spi, monkeypatch, words, message):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "trackio" else found(name))
    done = spi("train", "ppo", "--env", "CartPole-v1", "-n", 64, *words)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert message in done.err
