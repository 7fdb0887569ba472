import dataclasses
import json
import os

import pytest

from spi_plugins.archive import Format, write_archive
from spi_plugins.cli.arguments import CommandError
from spi_plugins.cli.run_folder import RunConfig, RunFolder, locate_model, model_of_replay, new_run_folder

CONFIG = RunConfig(
    algorithm="ppo",
    policy="MlpPolicy",
    env="CartPole-v1",
    env_kwargs={"a": [1, 2]},
    n_envs=2,
    seed=3,
    n_timesteps=100,
    hyperparameters={"gamma": 0.9, "clip_range_vf": None},
)

FIELDS = dataclasses.asdict(CONFIG)


@pytest.fixture
def run(tmp_path):
    folder = new_run_folder(tmp_path, "ppo", "CartPole-v1")
    folder.write_config(CONFIG)
    return folder


def test_runs_are_numbered_and_names_are_safe(tmp_path):
    names = [new_run_folder(tmp_path, "ppo", "envpool:ALE/Pong-v5").path.name for _ in range(3)]
    assert names == ["envpool-ALE-Pong-v5_1", "envpool-ALE-Pong-v5_2", "envpool-ALE-Pong-v5_3"]


def test_a_number_is_never_used_again(tmp_path):
    for _ in range(2):
        new_run_folder(tmp_path, "ppo", "A-v0")
    (tmp_path / "ppo" / "A-v0_1").rmdir()
    assert new_run_folder(tmp_path, "ppo", "A-v0").path.name == "A-v0_3"


def test_similar_names_are_numbered_apart(tmp_path):
    new_run_folder(tmp_path, "ppo", "A-v0_1")
    assert new_run_folder(tmp_path, "ppo", "A-v0").path.name == "A-v0_1"


def test_a_folder_that_cannot_be_made_is_the_users_mistake(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandError, match="No folder for the run"):
        new_run_folder(tmp_path / "file", "ppo", "A-v0")


def test_the_configuration_is_read_as_it_was_written(run):
    assert run.read_config() == CONFIG


def test_commands_are_noted_so_that_a_shell_can_repeat_them(run):
    run.append_command(["train", "ppo", "-p", "a=[1, 2]"])
    run.append_command(["train", "--resume", "x"])
    assert (run.path / "command.txt").read_text() == "spi train ppo -p 'a=[1, 2]'\nspi train --resume x\n"


def test_a_run_means_its_final_model(run):
    run.model.write_text("")
    path, folder = locate_model(run.path)
    assert (path, folder.path) == (run.model, run.path)


def test_a_killed_run_means_its_newest_checkpoint(run):
    run.checkpoints.mkdir()
    for number, name in enumerate(["b", "c", "a"]):
        (run.checkpoints / f"{name}.zip").write_text("")
        os.utime(run.checkpoints / f"{name}.zip", (number, number))
    assert locate_model(run.path)[0].name == "a.zip"


def test_a_run_that_was_killed_when_it_went_on_means_its_newest_checkpoint(run):
    run.checkpoints.mkdir()
    for number, path in enumerate([run.checkpoints / "old.zip", run.model, run.checkpoints / "new.zip"]):
        path.write_text("")
        os.utime(path, (number, number))
    assert locate_model(run.path)[0].name == "new.zip"


@pytest.mark.parametrize(("replay", "goes_on_from"), [(16, "b"), (8, "a"), (12, "c"), (None, "c")])
def test_a_run_killed_between_a_model_and_its_replay_buffer_goes_on_from_the_model_before(
    run, replay, goes_on_from
):
    kind = Format("a kind", 1, "kind")
    run.checkpoints.mkdir()
    for number, name in enumerate("abc", 1):
        file = run.checkpoints / f"{name}.zip"
        write_archive(file, kind, {"counters": {"num_timesteps": 8 * number}}, {})
        os.utime(file, (number, number))
    if replay is not None:
        write_archive(run.replay, kind, {"num_timesteps": replay}, {})
    newest, _ = locate_model(run.path)
    assert newest.stem == "c"
    assert model_of_replay(run, newest).stem == goes_on_from


def test_a_checkpoint_belongs_to_its_run(run):
    run.checkpoints.mkdir()
    file = run.checkpoints / "a.zip"
    file.write_text("")
    path, folder = locate_model(file)
    assert (path, folder.path) == (file, run.path)


def test_a_file_elsewhere_belongs_to_no_run(tmp_path):
    (tmp_path / "model.zip").write_text("")
    assert locate_model(tmp_path / "model.zip") == (tmp_path / "model.zip", None)


def test_what_is_missing_or_damaged_is_said(tmp_path, run):
    with pytest.raises(CommandError, match="neither a run nor a model"):
        locate_model(tmp_path / "nothing")
    with pytest.raises(CommandError, match="is not a run"):
        locate_model(tmp_path)
    with pytest.raises(CommandError, match="holds no model"):
        locate_model(run.path)
    run.config.write_text("{}")
    with pytest.raises(CommandError, match=r"config\.json is not the configuration of a run"):
        RunFolder(run.path).read_config()


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "\xff",
        "[]",
        json.dumps({**FIELDS, "seed": "a"}),
        json.dumps({**FIELDS, "n_timesteps": "a"}),
        json.dumps({**FIELDS, "n_envs": True}),
        json.dumps({**FIELDS, "n_envs": -1}),
        json.dumps({**FIELDS, "env_kwargs": 3}),
        json.dumps({**FIELDS, "callbacks": [["a", 3]]}),
        json.dumps({**FIELDS, "colour": "red"}),
    ],
)
def test_a_garbled_configuration_is_refused_by_its_path(run, text):
    run.config.write_text(text)
    with pytest.raises(CommandError, match=r"config\.json is not the configuration of a run"):
        run.read_config()
