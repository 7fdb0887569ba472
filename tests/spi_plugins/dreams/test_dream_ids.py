import json
import re
import subprocess
import sys

import gymnasium
import pytest
from tiny_worlds import tiny_world

import spi_plugins
from spi_plugins.dreams import ids
from spi_plugins.gymnasium_ids import register_plugin_envs
from spi_plugins.testing import plugin_sandbox
from spi_wrappers import DreamEnv


@pytest.fixture
def path(tmp_path, own_dreams):
    file = tmp_path / "world.zip"
    tiny_world().save(file)
    return file


def test_a_registered_dream_is_made_by_its_name(path):
    spi_plugins.register_dream("mine/Cart-v0", path, horizon=7)
    env = gymnasium.make("mine/Cart-v0")
    assert env.unwrapped.functional.max_episode_steps == 7
    assert gymnasium.make("mine/Cart-v0", horizon=3).unwrapped.functional.max_episode_steps == 3
    assert gymnasium.make_vec("mine/Cart-v0", num_envs=2).num_envs == 2
    spi_plugins.register_dream("mine/Cart-v0", path, horizon=7)  # registering the same again is fine
    assert DreamEnv("mine/Cart-v0", horizon=2).functional.max_episode_steps == 2


def test_names_that_are_taken_and_files_that_are_not_there_are_refused(path):
    with pytest.raises(ValueError, match="The id 'CartPole-v1' is taken"):
        spi_plugins.register_dream("CartPole-v1", path)
    with pytest.raises(FileNotFoundError, match="There is no world model file"):
        spi_plugins.register_dream("mine/Nothing-v0", "nothing.zip")


def test_a_dream_that_is_kept_is_there_in_the_next_process(path):
    ids.remember_dream("mine/Kept-v0", path, horizon=4)
    code = (
        "import gymnasium, spi_plugins\n"
        "print(gymnasium.make('mine/Kept-v0').unwrapped.functional.max_episode_steps)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "4", done.stderr
    ids.remember_dream("mine/Kept-v0", path, horizon=5)
    assert ids.remembered_dreams()["mine/Kept-v0"]["horizon"] == 5
    ids.forget_dream("mine/Kept-v0")
    assert "mine/Kept-v0" not in gymnasium.registry
    with pytest.raises(
        KeyError, match="No dream is remembered under the name 'mine/Kept-v0'; remembered: none"
    ):
        ids.forget_dream("mine/Kept-v0")


GARBAGE = {
    "cut off": b"{",
    "no text": b"\xff\xfe\x00",
    "nested": b"[" * 100_000,
    "a list": b"[1]",
    "no path": b'{"x": 3}',
    "another path": b'{"x": {"model": 3}}',
    "a number too long": b'{"x": ' + b"1" * 5000 + b"}",
}


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE)
def test_a_damaged_list_of_dreams_is_a_warning_that_names_it_and_breaks_nothing(content, own_dreams):
    file = ids.dreams_file()
    file.write_bytes(content)
    with pytest.warns(UserWarning, match=f"not all registered: .*{re.escape(str(file))}"):
        ids.register_remembered_dreams()
    with pytest.raises(ValueError, match=re.escape(str(file))):
        ids.remembered_dreams()


def test_without_a_home_folder_no_dream_is_remembered_and_none_can_be(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    for name in ("SPI_DREAMS", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pathlib.Path.home", no_home)
    assert ids.remembered_dreams() == {}
    ids.register_remembered_dreams()
    assert ids.DREAM_ID in gymnasium.registry
    with pytest.raises(FileNotFoundError, match="set SPI_DREAMS or XDG_CONFIG_HOME"):
        ids.dreams_file()


def test_one_bad_dream_does_not_hide_the_others(path):
    entries = {"CartPole-v1": {"model": "a"}, "no id!": {"model": "b"}, "mine/Good-v0": {"model": str(path)}}
    ids.dreams_file().write_text(json.dumps(entries))
    with pytest.warns(UserWarning, match=r"'CartPole-v1': The id .* is taken.*'no id!': ") as caught:
        ids.register_remembered_dreams()
    assert len(caught) == 1
    assert "mine/Good-v0" in gymnasium.registry


def test_a_plugins_dream_is_a_gymnasium_id_too(path):
    class Plugin:
        @spi_plugins.hookimpl
        def register_envs(self, register):
            register(
                "theirs/Cart-v0", lambda **options: spi_plugins.open_dream(path, **{"horizon": 6, **options})
            )
            register("theirs/Real-v0", lambda **options: gymnasium.make("CartPole-v1", **options))

    with plugin_sandbox(Plugin()):
        new = register_plugin_envs()
        assert {"theirs/Cart-v0", "theirs/Real-v0"} <= set(new)
        env = gymnasium.make("theirs/Cart-v0", start="fixed")
        assert env.unwrapped.functional.max_episode_steps == 6
        assert env.reset(seed=0)[0].shape == (4,)
        assert gymnasium.make_vec("theirs/Cart-v0", num_envs=2).reset(seed=0)[0].shape == (2, 4)
        assert gymnasium.make("theirs/Real-v0").reset(seed=0)[0].shape == (4,)
        assert gymnasium.make_vec("theirs/Real-v0", num_envs=2).reset(seed=0)[0].shape == (2, 4)
        assert register_plugin_envs() == []
