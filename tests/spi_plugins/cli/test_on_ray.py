"""``--on ray``: the same runs and the same report as without it, also when a worker is killed."""

import csv
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

import pytest
import yaml

from spi_plugins.cli.jobs.plan import survey
from spi_plugins.cli.jobs.sweep import read_jobs

SIX_RUNS = {
    "algo": "ppo",
    "env": "spi/CostCartPole-v0",
    "n_envs": 2,
    "n_timesteps": 1600,
    "save_freq": 160,
    "eval_episodes": 2,
    "n_steps": 8,
    "batch_size": 16,
    "n_epochs": 1,
    "learning_rate": 1e-3,
    "clip_range": 0.2,
    "policy_kwargs": {"net_arch": [8]},
    "preset": False,
    "seeds": 3,
    "grid": {"gamma": [0.9, 0.99]},
}


@pytest.fixture
def two_workers(monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()


class KillOneWorker(threading.Thread):
    """Kills the process of the first run that has a checkpoint and no model yet."""

    def __init__(self, root):
        super().__init__(daemon=True)
        self.root, self.killed, self.done = root, None, threading.Event()

    def run(self):
        while self.killed is None and not self.done.is_set():
            for checkpoints in self.root.glob("*/*/checkpoints"):
                if any(checkpoints.glob("*.zip")) and not (checkpoints.parent / "model.zip").exists():
                    self.kill(checkpoints.parent)
                    break
            time.sleep(0.01)

    def kill(self, run):
        config = json.loads((run / "config.json").read_text())
        gamma = config["hyperparameters"]["gamma"]
        name = f"ray::{config['algorithm']} on {config['env']}, seed {config['seed']} (gamma={gamma})"
        for line in subprocess.run(
            ["ps", "-eo", "pid,args"], capture_output=True, text=True
        ).stdout.splitlines():
            pid, _, program = line.strip().partition(" ")
            if program.strip() == name:
                os.kill(int(pid), signal.SIGKILL)
                self.killed = run


def table(text):
    return re.search(r"6 runs in .*(?=Report:)", text, re.DOTALL)[0]


def figures(folder):
    """What a run has measured. The losses of the update before a resumed one are logged by nobody."""
    with folder.joinpath("progress.csv").open() as file:
        rows = [
            {key: value for key, value in row.items() if "rollout/" in key or "timesteps" in key}
            for row in csv.DictReader(file)
        ]
    return rows, json.loads(folder.joinpath("evaluation.json").read_text())


def test_six_runs_on_two_workers_of_which_one_is_killed_are_those_of_a_serial_sweep(spi, two_workers):
    file = pathlib.Path("six.yml")
    file.write_text(yaml.safe_dump(SIX_RUNS))
    serial = spi("sweep", file, "-f", "serial")
    assert serial.code == 0, serial.err

    killer = KillOneWorker(pathlib.Path("parallel"))
    killer.start()
    parallel = spi("sweep", file, "-f", "parallel", "--on", "ray")
    killer.done.set()
    killer.join()
    assert parallel.code == 0, parallel.err
    assert "6 runs on Ray: 1 machine, 2 CPUs, 0 GPUs." in parallel.out
    assert "[6/6] ppo on spi/CostCartPole-v0" in parallel.out
    commands = (killer.killed / "command.txt").read_text().splitlines()
    assert [command.split()[:3] for command in commands] == [
        ["spi", "train", "ppo"],
        ["spi", "train", "--resume"],
    ]

    assert table(parallel.out) == table(serial.out)
    runs = [
        [each.run for each in survey(read_jobs(file, folder), folder) if each.state == "finished"]
        for folder in (pathlib.Path("serial"), pathlib.Path("parallel").resolve())
    ]
    assert [len(each) for each in runs] == [6, 6]
    for ours, theirs in zip(*runs, strict=True):
        assert figures(ours) == figures(theirs)
    assert len(list(pathlib.Path("parallel").rglob("config.json"))) == 6
    assert pathlib.Path("parallel/report.html").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--on", "rya"], "--on 'rya' is unknown. Did you mean 'ray'? Allowed: ray."),
        (["--gpus-per-run", 1], "--cpus-per-run and --gpus-per-run go with --on ray."),
        (["--on", "ray", "--cpus-per-run", -1], "argument --cpus-per-run: invalid number of at least 0"),
    ],
)
def test_mistakes_are_one_line(spi, words, message):
    pathlib.Path("six.yml").write_text(yaml.safe_dump(SIX_RUNS))
    done = spi("sweep", "six.yml", *words)
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1
