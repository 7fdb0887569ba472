"""Several devices and processes. JAX counts devices once, so each test runs in processes of its own."""

import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
from one_of_two_processes import trained_planner, trained_ppo
from tiny_models import CARTPOLE

from spi_plugins import PPO, TDMPC2

TESTS = pathlib.Path(__file__).parents[2]
TOLERANCE = 1e-5  # of float32 sums in another order, after a few updates


def environment(devices):
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    return {**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}


def slurm(number):
    """What SLURM tells the tasks of a step on one machine; the port is JAX's, from the job's number."""
    told = {"JOB_ID": str(os.getpid()), "STEP_NODELIST": "localhost", "NTASKS": "2", "STEP_NUM_NODES": "1"}
    told |= {"PROCID": str(number), "LOCALID": str(number)}
    return {f"SLURM_{name}": value for name, value in told.items()}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def run_two(words, more=lambda number: {}):
    """Run both to the end, and return what they print."""
    processes = [
        subprocess.Popen(
            [sys.executable, *words(number)],
            env=environment(1) | more(number),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in (0, 1)
    ]
    printed = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed
    return printed


def assert_close(model, other):
    ours, theirs = model.get_parameters(), other.get_parameters()
    for group, arrays in ours.items():
        for name, array in arrays.items():
            np.testing.assert_allclose(array, theirs[group][name], TOLERANCE, TOLERANCE, err_msg=name)


def test_on_four_virtual_devices():
    page = TESTS / "spi_plugins/algorithms/four_devices.py"
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(page)]
    done = subprocess.run(words, env=environment(4), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_two_processes_learn_what_one_does_and_the_first_one_writes(tmp_path):
    port = free_port()
    run_two(lambda number: [str(TESTS / "one_of_two_processes.py"), str(number), port, str(tmp_path)])
    first, second = (np.load(tmp_path / f"seen_{number}.npz") for number in (0, 1))
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])
    one, planned = trained_ppo(1), trained_planner(1)
    np.testing.assert_array_equal(first["timesteps"], [one.num_timesteps, planned.num_timesteps])
    np.testing.assert_array_equal(first["returns"], [info["r"] for info in one.ep_info_buffer])
    assert_close(PPO.load(tmp_path / "0/ppo"), one)
    together = TDMPC2.load(tmp_path / "0/planner")
    together.load_replay_buffer(tmp_path / "0/replay.npz")
    assert_close(together, planned)
    np.testing.assert_allclose(together.replay_buffer.slots.obs, planned.replay_buffer.slots.obs, atol=1e-5)
    # The file goes on in one process.
    again = PPO.load(tmp_path / "0/ppo", env=CARTPOLE)
    again.learn(32, reset_num_timesteps=False)
    one.learn(32, reset_num_timesteps=False)
    assert_close(again, one)
    written = {path.name for path in (tmp_path / "0").iterdir()}
    assert written >= {"ppo.zip", "planner.zip", "replay.npz", "world.zip", "checkpoint_64_steps.zip"}
    assert not list(tmp_path.glob("1/*"))  # SB3 makes the folder of checkpoints
    stepped, unseeded, few = first["refused"]
    assert stepped == (
        "Several processes can only train where steps and updates are one program: compiled is False."
    )
    assert unseeded.startswith("seed is missing")
    assert few.endswith("2 processes train on all of their 2 devices together; device must be 'all'.")


def test_a_run_of_two_processes_has_one_folder_and_goes_on_under_slurm(tmp_path):
    port, small = free_port(), ["--n-steps", "16", "--batch-size", "64", "--n-epochs", "1", "--no-preset"]
    first, second = run_two(
        lambda number: [
            *("-m", "spi_plugins.cli", "train", "ppo", "--env", "spi/CartPole-v0", "--n-envs", "8"),
            *("-n", "512", *small, "--eval-freq", "256", "--eval-episodes", "1", "-f", str(tmp_path)),
            *("--coordinator", f"127.0.0.1:{port}", "--processes", "2", "--process-id", str(number)),
        ]
    )
    (run,) = (tmp_path / "ppo").iterdir()
    assert {"model.zip", "best_model.zip", "evaluation.json", "progress.csv"} <= {
        p.name for p in run.iterdir()
    }
    assert "Trained 512 steps" in first
    assert "The final model in 1" in first
    assert "Trained" not in second
    assert "Compil" not in second
    resumed = ["-m", "spi_plugins.cli", "train", "--resume", str(run), "-n", "256", "--coordinator", "auto"]
    first, second = run_two(lambda number: resumed, slurm)
    assert "Trained 256 steps" in first
    assert "Trained" not in second
    assert PPO.load(run / "model.zip").num_timesteps == 768
