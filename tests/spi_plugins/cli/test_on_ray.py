"""``--on ray``: the same runs and the same report as without it, also when a worker is killed."""

import csv
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
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
    "n_timesteps": 800,
    "save_freq": 80,
    "eval_episodes": 2,
    "n_steps": 8,
    "batch_size": 16,
    "n_epochs": 1,
    "learning_rate": 1e-3,
    "clip_range": 0.2,
    "policy_kwargs": {"net_arch": [8]},
    "preset": False,
    "seeds": 6,
}


@pytest.fixture
def on_two_workers(tmp_path):
    """Runs ``spi`` in a process of its own, on a new local cluster of which each run takes half of the CPUs."""
    environ = {**os.environ, "RAY_ADDRESS": "local", "RAY_AUTH_MODE": "disabled"}

    def run(*words):
        words = [*words, "--on", "ray", "--cpus-per-run", (os.cpu_count() or 2) / 2]
        command = [sys.executable, "-m", "spi_plugins.cli", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environ)

    return run


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
        name = f"ray::{config['algorithm']} on {config['env']}, seed {config['seed']}"
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


def test_six_runs_on_two_workers_of_which_one_is_killed_are_those_of_a_serial_sweep(spi, on_two_workers):
    file = pathlib.Path("six.yml")
    file.write_text(yaml.safe_dump(SIX_RUNS))
    serial = spi("sweep", file, "-f", "serial")
    assert serial.code == 0, serial.err

    killer = KillOneWorker(pathlib.Path("parallel"))
    killer.start()
    parallel = on_two_workers("sweep", file, "-f", "parallel")
    killer.done.set()
    killer.join()
    assert parallel.returncode == 0, parallel.stderr
    assert "6 runs on Ray: 1 machine, " in parallel.stdout
    assert "[6/6] ppo on spi/CostCartPole-v0" in parallel.stdout
    commands = (killer.killed / "command.txt").read_text().splitlines()
    assert [command.split()[:3] for command in commands] == [
        ["spi", "train", "ppo"],
        ["spi", "train", "--resume"],
    ]

    assert table(parallel.stdout) == table(serial.out)
    runs = [
        [each.run for each in survey(read_jobs(file, folder), folder) if each.state == "finished"]
        for folder in (pathlib.Path("serial"), pathlib.Path("parallel").resolve())
    ]
    assert [len(each) for each in runs] == [6, 6]
    for ours, theirs in zip(*runs, strict=True):
        assert figures(ours) == figures(theirs)
    assert len(list(pathlib.Path("parallel").rglob("config.json"))) == 6
    assert pathlib.Path("parallel/report.html").is_file()


def test_an_address_without_a_cluster_is_one_line(spi, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free.getsockname()[1]}")
        pathlib.Path("six.yml").write_text(yaml.safe_dump(SIX_RUNS))
        done = spi("sweep", "six.yml", "--on", "ray")
    assert done.code == 3
    assert "spi: error: --on ray: no cluster at 127.0.0.1:" in done.err
    assert done.err.count("\n") == 1


@pytest.mark.slow
def test_two_workers_search_together(on_two_workers, tmp_path):
    space = "learning_rate=dict(low=1e-4,high=1e-2,log=True)"
    fixed = [f"{key}={SIX_RUNS[key]!r}" for key in ("n_steps", "batch_size", "n_epochs", "policy_kwargs")]
    fixed += [
        "gamma=0.9",
        "gae_lambda=0.9",
        "clip_range=0.2",
        "ent_coef=0.0",
        "vf_coef=0.5",
        "max_grad_norm=0.5",
    ]
    words = [
        "tune",
        "ppo",
        "--env",
        SIX_RUNS["env"],
        "--n-envs",
        2,
        "-n",
        128,
        "--no-preset",
        "--n-trials",
        3,
    ]
    done = on_two_workers(*words, "--space", space, "-f", "mine", "-p", *fixed)
    assert done.returncode == 0, done.stderr
    assert "2 runs on Ray" in done.stdout
    assert re.search(r"[34] trials finished, 0 pruned", done.stdout)
    runs = {
        json.loads(path.read_text())["hyperparameters"]["learning_rate"]
        for path in (tmp_path / "mine").rglob("config.json")
    }
    assert len(runs) >= 3
    assert yaml.safe_load((tmp_path / "mine/best.yml").read_text())["learning_rate"] in runs
