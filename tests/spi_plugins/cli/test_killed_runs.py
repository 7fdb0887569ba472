"""``spi train`` is killed at any moment, and ``--resume`` goes on."""

import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from spi_plugins.algorithms.model_file import read_model_file
from spi_plugins.cli.run_folder import RunFolder, steps_at

SPI = (sys.executable, "-m", "spi_plugins.cli", "train")
STEPPED = (
    "ppo",
    "--env",
    "CartPole-v1",
    "--save-freq",
    "32",
    "-p",
    "n_steps=16",
    "batch_size=16",
    "n_epochs=1",
)
# Rates that do not depend on the end of the run. Checkpoints are far enough apart for chunks of iterations.
CHUNKS = (
    *(
        "ppo",
        "--env",
        "spi/CartPole-v0",
        "--no-preset",
        "--save-freq",
        "192",
        "-p",
        "n_steps=4",
        "batch_size=4",
    ),
    *("n_epochs=1", "policy_kwargs={'net_arch': [8]}", "learning_rate=1e-3", "clip_range=0.2"),
)
PLANNING = (
    *("spowl", "--env", "spi/PointGoal-v0", "--save-freq", "16", "-p", "model_size='small'", "batch_size=4"),
    "policy_kwargs={'encoder_hidden': (8,), 'latent_dim': 8, 'hidden': (8,), 'n_bins': 11}",
    *("planner='policy'", "decision=None", "buffer_size=200", "learning_starts=8", "train_freq=4"),
)
COMMON = ("--n-envs", "2", "--eval-episodes", "0")


def start(root, words, steps):
    """The words of a run, and its folder."""
    folder = RunFolder(root / words[0] / f"{words[2].replace('/', '-')}_1")
    return [*SPI, words[0], *COMMON, "-n", str(steps), "-f", str(root), *words[1:]], folder


def killed(root, words, seed):
    """The folder of a run that was killed within a second of its first checkpoint, replay buffer included."""
    command, run = start(root, words, 10**9)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    wanted = run.replay if words is PLANNING else run.checkpoints
    while not (wanted.is_file() or list(wanted.glob("*.zip"))):
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(random.Random(seed).random())
    process.send_signal(signal.SIGKILL)
    process.wait()
    return run


def go_on(run, steps):
    resumed = subprocess.run([*SPI, "--resume", run.path, "-n", str(steps)], capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    left = [path.name for path in run.path.rglob("*") if ".tmp" in path.name or path.name.startswith(".")]
    assert not left


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_a_run_that_is_killed_at_any_moment_goes_on(tmp_path, seed):
    go_on(killed(tmp_path, STEPPED, seed), 64)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("words", "more"), [(CHUNKS, 576), (PLANNING, 48)])
def test_compiled_training_ends_as_if_it_had_not_been_killed(tmp_path, words, more, seed):
    run = killed(tmp_path, words, seed)
    go_on(run, more)
    command, whole = start(tmp_path / "whole", words, steps_at(run.model))
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    ours, theirs = (read_model_file(folder.model).arrays for folder in (run, whole))
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():  # parameters, optimizer, keys, environments
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)
