import random
import signal
import subprocess
import sys
import time

import pytest

SPI = (sys.executable, "-m", "spi_plugins.cli", "train")
WORDS = (
    "ppo",
    "--env",
    "CartPole-v1",
    "--n-envs",
    "2",
    "-n",
    "1e6",
    "--save-freq",
    "32",
    "--eval-episodes",
    "0",
)
SHORT = ("-p", "n_steps=16", "batch_size=16", "n_epochs=1")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_a_run_that_is_killed_at_any_moment_goes_on(tmp_path, seed):
    run = tmp_path / "ppo" / "CartPole-v1_1"
    process = subprocess.Popen([*SPI, *WORDS, *SHORT, "-f", tmp_path], stdout=subprocess.DEVNULL)
    while not list(run.glob("checkpoints/*.zip")):
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(random.Random(seed).random())
    process.send_signal(signal.SIGKILL)
    process.wait()
    resumed = subprocess.run([*SPI, "--resume", run, "-n", "64"], capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    left = [path.name for path in run.rglob("*") if ".tmp" in path.name or path.name.startswith(".")]
    assert not left
