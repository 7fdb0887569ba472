"""``--seeds``: one folder, one run for each seed; what has finished is not trained again."""

import argparse
import json
import pathlib
import types

import pytest
from tiny_models import ROLLOUT, tiny_ppo

from spi_plugins.algorithms import joint_training
from spi_plugins.cli import seeds
from spi_plugins.cli.progress_rows import read_progress
from spi_plugins.cli.run_folder import RunFolder
from spi_plugins.cli.seeds import steps_taken

GROUP = pathlib.Path("runs/sb3_ppo/CartPole-v1_1")
SHORT = ("-p", "n_steps=32", "batch_size=32", "n_epochs=1", "device='cpu'")
TRAIN = ("train", "sb3_ppo", "--env", "CartPole-v1", "--n-envs", 2, "--eval-episodes", 1, *SHORT)


def steps_of(seed):
    rows = read_progress(GROUP / f"seed_{seed}/progress.csv")
    return [int(row["time/total_timesteps"]) for row in rows]


def test_each_seed_has_a_run_and_all_have_a_summary(train):
    done = train(*TRAIN, "-n", 64, "--seed", 3, "--seeds", 2)
    assert done.code == 0, done.err
    assert sorted(path.name for path in GROUP.iterdir()) == ["seed_3", "seed_4", "seeds.json"]
    stored = json.loads((GROUP / "seeds.json").read_text())
    returns = [
        json.loads((GROUP / f"seed_{seed}/evaluation.json").read_text())["mean_return"] for seed in (3, 4)
    ]
    assert [json.loads((GROUP / f"seed_{seed}/config.json").read_text())["seed"] for seed in (3, 4)] == [3, 4]
    assert [stored["finished"][seed]["mean_return"] for seed in ("3", "4")] == returns
    mean, low, high = (stored["summary"]["mean_return"][key] for key in ("mean", "low", "high"))
    assert (mean, low, high) == (sum(returns) / 2, min(returns), max(returns))
    assert (
        f"2 seeds: return {mean:.2f} [{low:.2f}, {high:.2f}], mean with its 95% bootstrap interval."
        in done.out
    )


def test_after_ctrl_c_finished_seeds_are_skipped_and_the_others_go_on(train):
    # Each run takes two rollouts of 32 calls; the third one's first is interrupted.
    train(*TRAIN, "-n", 128, "--seeds", 3, "--save-freq", 0)
    (GROUP / "seeds.json").write_text('{"seeds": [0, 1, 2], "finished": {"0": {"mean_return": 9.0}}}')
    for path in sorted((GROUP / "seed_2").rglob("*"), reverse=True):
        path.unlink()
    (GROUP / "seed_2").rmdir()
    before = (GROUP / "seed_0/model.zip").stat().st_mtime_ns
    stopped = train("train", "--trust-imports", "--resume", GROUP)
    assert stopped.code == 0, stopped.err
    assert "Seed 0: finished with return 9.00." in stopped.out
    assert (GROUP / "seed_0/model.zip").stat().st_mtime_ns == before
    assert [steps_of(seed) for seed in range(3)] == [[64, 128]] * 3
    finished = json.loads((GROUP / "seeds.json").read_text())["finished"]
    assert list(finished) == ["0", "1", "2"]


def test_ctrl_c_saves_and_says_how_to_go_on(train):
    done = train(*TRAIN, "-n", 128, "--seeds", 2, "--callback", "ctrl_c", "at=5")
    assert done.code == 130
    assert done.out.splitlines()[-1] == f"Go on with all seeds: spi train --resume {GROUP} --trust-imports"
    assert "Go on: " not in done.out
    assert steps_of(0) == [64]
    assert not (GROUP / "seed_1").exists()
    go_on = ("train", "--trust-imports", "--resume", GROUP)
    # The callback is a part of the runs, and stops the second one before its evaluation, and then the next seed.
    assert train(*go_on).code == 130
    assert steps_of(0) == [64, 128]
    assert not (GROUP / "seed_0/evaluation.json").exists()
    assert train(*go_on).code == 130
    assert steps_of(0) == [64, 128]
    assert steps_of(1) == [64]
    assert json.loads((GROUP / "seeds.json").read_text())["finished"].keys() == {"0"}


def test_the_steps_of_our_own_models_are_read_from_their_files(tmp_path):
    model = tiny_ppo().learn(2 * ROLLOUT)
    model.save(tmp_path / "model.zip")
    assert steps_taken(RunFolder(tmp_path)) == 2 * ROLLOUT
    assert steps_taken(RunFolder(tmp_path / "nothing")) == 0


def test_a_mistake_leaves_no_folder(train):
    done = train(*TRAIN, "-n", 64, "--seeds", 2, "--env-kwargs", "gravity=1")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert not pathlib.Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "--resume", GROUP, "-n", 5), "-n cannot be changed with --resume"),
        (("train", "--resume", GROUP, "--gamma", 0.5), "--gamma cannot be changed with --resume"),
        (("train", "--resume", GROUP, "--seed", 0), "--seed cannot be changed"),
        (("eval", GROUP), "holds runs with several seeds; name one, such as"),
    ],
)
def test_what_several_seeds_have_in_common_cannot_be_changed(spi, words, message):
    GROUP.mkdir(parents=True)
    (GROUP / "seeds.json").write_text('{"seeds": [0], "finished": {}}')
    done = spi(*words)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert message in done.err


def test_seeds_that_do_not_fit_into_the_memory_train_one_after_the_other(tmp_path, monkeypatch, capsys):
    ready = types.SimpleNamespace(model=tiny_ppo())
    monkeypatch.setattr(seeds, "prepare", lambda args: ready)
    monkeypatch.setattr(seeds, "_pays", lambda model: True)
    monkeypatch.setattr(joint_training, "device_bytes", lambda device: 1000)
    args = argparse.Namespace(profile=False, callback=None, seeds=2)
    group = seeds.SeedsFolder(tmp_path, (0, 1))
    assert seeds._train_together(args, group) == (0, ready)
    assert "they are trained one after the other." in capsys.readouterr().out


def test_where_it_pays_seeds_train_in_one_program_and_have_a_run_each(train, monkeypatch):
    monkeypatch.setattr(seeds, "_pays", lambda model: True)  # as on a GPU
    short = (
        "-p",
        "n_steps=4",
        "batch_size=4",
        "n_epochs=2",
        "policy_kwargs={'net_arch': [8]}",
        "device='cpu'",
    )
    task = ("train", "ppo", "--env", "spi/CartPole-v0", "--n-envs", 2, "--eval-episodes", 1, *short)
    done = train(*task, "-n", 48, "--seeds", 2)
    assert done.code == 0, done.err
    assert "48 steps in 2 environments for each of the seeds 0, 1, in one program." in done.out
    group = pathlib.Path("runs/ppo/spi-CartPole-v0_1")
    for seed in (0, 1):
        run = RunFolder(group / f"seed_{seed}")
        assert steps_taken(run) == 48
        assert [int(row["time/total_timesteps"]) for row in read_progress(run.progress)] == list(
            range(8, 49, 8)
        )
        assert run.read_config().seed == seed
        assert run.evaluation.is_file()
        assert len(list(run.checkpoints.glob("*.zip"))) > 5
    assert json.loads((group / "seeds.json").read_text())["finished"].keys() == {"0", "1"}
    more = train("train", "--resume", group)
    assert "Seed 1: finished with" in more.out
