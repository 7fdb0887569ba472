"""``spi benchmark``: the plan, what of it is done, and a run of each kind on a real game."""

import json
import pathlib
import sys

import pytest
from run_folders import write_run

from spi_plugins import presets
from spi_plugins.cli.benchmark import command
from spi_plugins.cli.jobs import execution
from spi_plugins.cli.progress_rows import read_progress
from spi_plugins.cli.run_folder import RunFolder

PROTOCOL = {"env_kwargs": {"stochastic": True}, "n_envs": 128, "policy": "CnnPolicy", "eval_episodes": 0}


def plan(spi, *words):
    done = spi("benchmark", *words, "--dry-run", "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_the_whole_of_the_papers_benchmarks_is_planned(spi):
    atari = plan(spi, "atari", "--games", "all")
    assert len(atari) == 57 * 3 * 3
    assert sum(row["steps"] for row in atari) == 57 * 3 * 3 * 10_000_000
    first = " ".join(atari[0]["command"])
    assert first.startswith("spi train deep_spi --env envpool:Alien-v5 -n 10000000 --seed 0 ")
    assert "--env-kwargs stochastic=True --n-envs 128" in first
    words = ["--tasks", "AntGoal1", "PointGoal1", "--algo", "spowl", "ppo_lag", "--seeds", 1, "--seed", 4]
    safety = [" ".join(row["command"]) for row in plan(spi, "safety", *words)]
    assert [command.split(" --eval-episodes")[0] for command in safety] == [
        "spi train spowl --env spi/SafetyPointGoal1-v0 -n 1000000 --seed 4 --n-envs 10",
        "spi train ppo_lag --env spi/SafetyPointGoal1-v0 -n 5000000 --seed 4 --n-envs 10",
        "spi train spowl --env spi/SafetyAntGoal1-v0 -n 1000000 --seed 4 --n-envs 10",
        "spi train ppo_lag --env spi/SafetyAntGoal1-v0 -n 5000000 --seed 4 --n-envs 10",
    ]
    assert ["--wrapper action_repeat repeat=5" in command for command in safety] == [True, False, True, False]


def test_finished_runs_are_skipped_and_others_go_on(spi, tmp_path):
    def write(seed, **kwargs):
        return write_run(tmp_path / "mine", "ppo", "envpool:Pong-v5", seed, **{**PROTOCOL, **kwargs})

    finished = write(0)
    (finished / "model.zip").touch()
    stopped = write(1, taken=400)
    (stopped / "checkpoints").mkdir()
    (stopped / "checkpoints/ppo_400_steps.zip").touch()
    write(2, taken=100)  # killed before its first checkpoint
    (write(3, n_envs=8) / "model.zip").touch()  # not the protocol's
    (write(3, steps=500) / "model.zip").touch()  # of another length
    (write(3, hyperparameters={"gamma": 0.8}) / "model.zip").touch()  # with other settings
    words = ["atari", "--games", "Pong", "--algo", "ppo", "--seeds", 4, "-n", 1000, "-f", "mine"]
    rows = plan(spi, *words)
    assert [(row["state"], row["steps"]) for row in rows] == [
        ("finished", 0),
        ("resume", 600),
        ("start", 1000),
        ("start", 1000),
    ]
    assert rows[1]["command"] == ["spi", "train", "--resume", "mine/ppo/envpool-Pong-v5_2"]
    shown = spi("benchmark", *words, "--dry-run").out.splitlines()
    assert shown[1] == "resume            600  spi train --resume mine/ppo/envpool-Pong-v5_2"
    assert shown[-1] == "4 runs: 1 finished, 1 to resume, 2 to start; 2,600 steps to take."
    assert [row["state"] for row in plan(spi, *words, "-p", "gamma=0.9")] == ["start"] * 4


def test_runs_whose_actions_are_not_repeated_do_not_count_for_spowl(spi, tmp_path):
    for wrappers in ([], [("action_repeat", {"repeat": 4})], [("action_repeat", {"repeat": 5})]):
        run = write_run(
            tmp_path / "mine",
            "spowl",
            "spi/SafetyCarGoal1-v0",
            n_envs=10,
            wrappers=wrappers,
            eval_cost_limit=25.0,
            hyperparameters=presets.get("spowl", "spi/SafetyCarGoal1-v0").hyperparameters,
        )
        (run / "model.zip").touch()
        (run / "evaluation.json").touch()
    words = ["--tasks", "CarGoal1", "--algo", "spowl", "--seeds", 1, "-n", 5000, "-f", "mine"]
    (row,) = plan(spi, "safety", *words)
    assert row["run"] == "mine/spowl/spi-SafetyCarGoal1-v0_3"
    assert (row["state"], row["steps"]) == ("finished", 0)
    (run / "evaluation.json").unlink()  # killed in its evaluation
    (row,) = plan(spi, "safety", *words)
    assert (row["state"], row["steps"]) == ("resume", 0)


@pytest.mark.skipif(sys.platform != "linux", reason="envpool is for Linux")
def test_a_game_is_trained_goes_on_after_a_kill_and_is_reported(train, monkeypatch):
    words = [*command.ATARI.words[:-3], "4", *command.ATARI.words[-2:]]
    monkeypatch.setattr(command, "ATARI", command.ATARI._replace(words=words))
    words = [
        "benchmark",
        "atari",
        "--games",
        "Pong",
        "--algo",
        "sb3_ppo",
        "--seeds",
        1,
        "-n",
        256,
        "-f",
        "mine",
    ]
    words += ["-p", "n_steps=64", "n_epochs=1", "batch_size=256", "device='cpu'"]
    done = train(*words)
    assert done.code == 2  # after 256 steps no game has ended
    assert "No episode has ended in mine/sb3_ppo/envpool-Pong-v5_1" in done.err
    folder = RunFolder(pathlib.Path("mine/sb3_ppo/envpool-Pong-v5_1"))
    config = folder.read_config()
    assert (config.env_kwargs, config.n_envs, config.eval_episodes) == ({"stochastic": True}, 4, 0)
    assert int(read_progress(folder.progress)[-1]["time/total_timesteps"]) == 256

    # As a kill would have left it.
    folder.model.unlink()
    for checkpoint in folder.checkpoints.glob("*.zip"):
        if int(checkpoint.stem.split("_")[2]) > 128:
            checkpoint.unlink()
    folder.progress.write_text("time/total_timesteps,rollout/ep_rew_mean\n100,14.6\n")
    again = train(*words, "--trust-imports")
    assert again.code == 0, again.err
    assert "[1/1] sb3_ppo on envpool:Pong-v5, seed 0" in again.out
    assert folder.model.is_file()
    assert int(read_progress(folder.progress)[-1]["time/total_timesteps"]) >= 256
    assert "Report: mine/report.html" in again.out
    assert "0 is random play, 1 the human" in pathlib.Path("mine/report.html").read_text()

    assert "[1/1]" not in train(*words).out


def test_a_failed_run_does_not_stop_the_others(spi, monkeypatch, tmp_path):
    codes = iter([3, 0])
    trained = []

    def train(words):
        trained.append(words)
        seed = int(words[words.index("--seed") + 1])
        write_run(tmp_path / "mine", "ppo", "envpool:Pong-v5", seed, final=14.6, **PROTOCOL)
        return next(codes)

    monkeypatch.setattr(execution, "main", train)
    done = spi(
        "benchmark", "atari", "--games", "Pong", "--algo", "ppo", "--seeds", 2, "-n", 1000, "-f", "mine"
    )
    assert done.code == 3
    assert len(trained) == 2
    assert "spi: error: 1 of 2 runs failed: ppo on envpool:Pong-v5, seed 0" in done.err
    assert pathlib.Path("mine/report.html").is_file()


def test_ctrl_c_ends_the_benchmark(spi, monkeypatch):
    monkeypatch.setattr(execution, "main", lambda words: 130)
    done = spi("benchmark", "atari", "--games", "Pong", "Breakout", "-f", "mine")
    assert done.code == 130
    assert done.out.count("Pong") == 0
    assert done.out.count("Breakout") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["atari", "--games", "Pnog"], "--games Pnog: not of this benchmark. Did you mean 'Pong'?"),
        (["safety", "--tasks", "PointGoal3"], "Allowed: all, PointGoal1, PointGoal2, PointPush1"),
        (["atari", "--games", "Pong", "--algo", "pop"], "No algorithm named 'pop'. Did you mean 'ppo'"),
        (["atari"], "the following arguments are required: --games"),
    ],
)
def test_mistakes_are_one_line(spi, words, message):
    done = spi("benchmark", *words)
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1
