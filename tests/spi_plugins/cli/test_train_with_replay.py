"""``spi train`` of an algorithm with a replay buffer: the buffer is part of the run's folder."""

import json

from spi_plugins.cli import main

SIZES = [
    "model_size='small'", "policy_kwargs={'encoder_hidden': (8,), 'latent_dim': 8, 'hidden': (8,), 'n_bins': 11}",
    "planner='policy'", "decision=None", "batch_size=4", "buffer_size=200", "learning_starts=8", "train_freq=4",
]  # fmt: skip


def test_a_run_keeps_its_buffer_and_goes_on_with_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    train = [
        "train",
        "spowl",
        "--env",
        "spi/PointGoal-v0",
        "-n",
        "16",
        "--n-envs",
        "2",
        "--eval-episodes",
        "0",
    ]
    assert main([*train, "--save-freq", "8", "-p", *SIZES]) == 0
    run = tmp_path / "runs" / "spowl" / "spi-PointGoal-v0_1"
    before = (run / "replay.npz").stat().st_size
    assert main(["train", "--resume", str(run), "-n", "16"]) == 0
    assert (run / "replay.npz").stat().st_size > before
    assert json.loads((run / "config.json").read_text())["n_timesteps"] == 32
    assert "Go on:" in capsys.readouterr().out
