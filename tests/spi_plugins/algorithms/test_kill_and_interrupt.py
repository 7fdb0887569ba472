"""kill -9 during a save leaves a file that loads; signals and threads meet a model that can be saved and trained on."""

import functools
import io
import pathlib
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from tiny_models import ROLLOUT, tiny_ppo, tiny_tdmpc2

from spi_plugins import PPO
from spi_plugins.algorithms.interrupts import Exchange

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

# Raises an exception out of a signal's handler at random moments of a long training, saves each time, and goes on.
INTERRUPT = """
import io, os, random, signal, threading
from tiny_models import ROLLOUT, UPDATES, tiny_ppo, tiny_tdmpc2

def leave(error):
    def handler(*_):
        raise error
    return handler

HANDLERS = {
    signal.SIGINT: signal.default_int_handler,  # jobs in the background ignore it
    signal.SIGTERM: leave(SystemExit),
    signal.SIGALRM: leave(TimeoutError),
}
for number, handler in HANDLERS.items():
    signal.signal(number, handler)
random.seed(0)
for path in ("compiled", "stepped", "planning"):
    model = (tiny_tdmpc2() if path == "planning" else tiny_ppo(path)).learn(2 * ROLLOUT)
    interrupts = 0
    for i in range(20):
        number = list(HANDLERS)[i % 3]
        timer = threading.Timer(random.uniform(0.0, 0.2), os.kill, (os.getpid(), number))
        try:
            timer.start()
            model.learn(10**9, reset_num_timesteps=False)
        except (KeyboardInterrupt, SystemExit, TimeoutError):
            interrupts += 1
        timer.join()
        file = io.BytesIO()
        model.save(file)
        if path == "compiled":
            # Whole iterations, each with its update: nothing is done without being counted.
            assert model.num_timesteps % ROLLOUT == 0
            assert model._n_updates == UPDATES * model.num_timesteps // ROLLOUT
        if path == "planning":
            model.save_replay_buffer(io.BytesIO())
        model.learn(ROLLOUT, reset_num_timesteps=False)
    file.seek(0)
    type(model).load(file)
    print(interrupts)
assert {number: signal.getsignal(number) for number in HANDLERS} == HANDLERS
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
    loaded = PPO.load(path)
    assert loaded.num_timesteps == counts[-1]
    loaded.save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["model.zip"]  # what the killed ones left is gone


def test_signals_at_any_moment_leave_a_model_that_can_be_saved_and_trained_on():
    assert run(INTERRUPT) == [20, 20, 20]


@pytest.mark.parametrize("make", [tiny_ppo, functools.partial(tiny_ppo, "stepped"), tiny_tdmpc2])
def test_other_threads_save_and_predict_while_training_goes_on(make):
    model = make().learn(2 * ROLLOUT)
    obs = np.zeros((2, *model.observation_space.shape), np.float32)
    results, done = [], threading.Event()

    def visit():
        while not done.is_set():
            try:
                file = io.BytesIO()
                model.save(file)
                model.predict(obs)
                model.get_parameters()
                results.append(file)
            except Exception as error:
                results.append(error)

    thread = threading.Thread(target=visit)
    thread.start()
    for _ in range(30):
        model.learn(2 * ROLLOUT, reset_num_timesteps=False)
    done.set()
    thread.join()
    assert not [error for error in results if isinstance(error, Exception)]
    assert len(results) > 2  # the training gives way
    results[-1].seek(0)
    type(model).load(results[-1])


def test_exchanges_are_taken_in_turn():
    exchange, order = Exchange(), []

    def take(name):
        with exchange, exchange:
            order.append(name)

    with exchange:
        threads = [threading.Thread(target=take, args=(name,)) for name in range(3)]
        for thread in threads:
            thread.start()
            time.sleep(0.05)
    with exchange:
        assert order == [0, 1, 2]
    for thread in threads:
        thread.join()
