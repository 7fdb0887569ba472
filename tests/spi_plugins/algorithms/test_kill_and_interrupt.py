"""kill -9 during a save leaves a file that loads; Ctrl-C leaves a model that can be saved and trained on."""

import pathlib
import subprocess
import sys

from tiny_models import tiny_ppo

from spi_plugins import PPO

# Forks children that save a model again and again over the same file, kills each at a random moment, and reads
# the file. JAX has not started when it forks: each child starts its own.
KILL = """
import os, pathlib, random, signal, sys, time
from spi_plugins import PPO
from spi_plugins.algorithms.model_file import read_model_file

path = pathlib.Path(sys.argv[1])
random.seed(0)
expected = {key: value.shape for key, value in read_model_file(path).arrays.items()}
counts = []
for _ in range(20):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        model = PPO.load(path)
        while True:
            model.num_timesteps += 1
            model.save(path)
            os.write(writer, b".")
    os.close(writer)
    os.read(reader, 1)  # it has begun
    time.sleep(random.uniform(0, 0.03))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reader)
    file = read_model_file(path)
    assert {key: value.shape for key, value in file.arrays.items()} == expected
    counts.append(file.data["counters"]["num_timesteps"])
print(*counts)
"""

# Presses Ctrl-C at random moments of a long training, saves each time, and goes on.
INTERRUPT = """
import io, os, random, signal, threading
from spi_plugins import PPO
from tiny_models import ROLLOUT, UPDATES, tiny_ppo

signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background ignore it
random.seed(0)
for path in ("compiled", "stepped"):
    model = tiny_ppo(path).learn(ROLLOUT)
    interrupts = 0
    for _ in range(20):
        timer = threading.Timer(random.uniform(0.0, 0.2), os.kill, (os.getpid(), signal.SIGINT))
        try:
            timer.start()
            model.learn(10**9, reset_num_timesteps=False)
        except KeyboardInterrupt:
            interrupts += 1
        timer.join()
        file = io.BytesIO()
        model.save(file)
        if path == "compiled":
            # Whole iterations, each with its update: nothing is done without being counted.
            assert model.num_timesteps % ROLLOUT == 0
            assert model._n_updates == UPDATES * model.num_timesteps // ROLLOUT
        model.learn(ROLLOUT, reset_num_timesteps=False)
    file.seek(0)
    PPO.load(file)
    print(interrupts)
"""
TESTS = pathlib.Path(__file__).parents[2]


def run(script, *arguments):
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=TESTS, timeout=300)
    assert done.returncode == 0, done.stderr
    return [int(word) for word in done.stdout.split()]


def test_kill_9_during_saves_always_leaves_a_file_that_loads(tmp_path):
    path = tmp_path / "model.zip"
    # Large enough for a save to take a while.
    tiny_ppo(policy_kwargs={"net_arch": [64, 64]}).save(path)
    counts = run(KILL, path)
    assert len(counts) == 20
    assert counts == sorted(set(counts))  # every child got further, and no older file came back
    assert PPO.load(path).num_timesteps == counts[-1]


def test_ctrl_c_at_any_moment_leaves_a_model_that_can_be_saved_and_trained_on():
    assert run(INTERRUPT) == [20, 20]
