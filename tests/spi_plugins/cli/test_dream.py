import json

import gymnasium
import pytest
from tiny_worlds import tiny_world

pytestmark = pytest.mark.usefixtures("own_dreams")


@pytest.fixture
def world(tmp_path):
    path = tmp_path / "world.zip"
    tiny_world(gymnasium.make("CartPole-v1").observation_space).save(path)
    return str(path)


def test_a_model_is_fitted_checked_and_drawn(spi, tmp_path):
    path = str(tmp_path / "world.zip")
    fit = ("dream", "fit", path, "--env", "CartPole-v1", "-n", "120", "--n-updates", "5", "--n-envs", "2")
    done = spi(*fit, "-p", "hidden=[8]", "n_members=2", "batch_size=16")
    assert done.code == 0, done.err
    assert f"Wrote {path}, fitted to 120 steps of uniform actions, " in done.out
    assert "On steps that were held out: Predictions are " in done.out
    png = tmp_path / "check.png"
    checked = ("dream", "eval", path, "--env", "CartPole-v1", "--n-episodes", "2", "--horizon", "3")
    done = spi(*checked, "--png", str(png))
    assert done.code == 0, done.err
    assert "latent error" in done.out
    assert png.is_file()
    done = spi(*checked, "--json")
    assert len(json.loads(done.out)["errors"]["latent_error"]) == 3


def test_a_dream_is_kept_listed_and_forgotten(spi, world):
    done = spi("dream", "register", "mine/Cart-v0", world, "--options", "horizon=9")
    assert done.code == 0, done.err
    assert "mine/Cart-v0" in gymnasium.registry
    assert "horizon=9" in spi("dream", "list").out
    assert spi("dream", "forget", "mine/Cart-v0").code == 0
    assert spi("dream", "list").out == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("register", "mine/Cart-v0", "nowhere.zip"), "neither a world-model file"),
        (("register", "mine/Cart-v0", "WORLD", "--options", "horizon=0"), "horizon must be an integer"),
        (("register", "mine/Cart-v0", "WORLD", "--options", "speed=1"), "speed"),
        (("register", "CartPole-v1", "WORLD"), "The id 'CartPole-v1' is taken"),
        (("forget", "mine/Nothing-v0"), "No dream is remembered under the name"),
        (("eval", "WORLD", "--env", "Pendulum-v1"), "takes actions in|takes observations in"),
        (("eval", "WORLD", "--env", "Nothing-v9"), "--env Nothing-v9"),
        (("eval", "nowhere", "--env", "CartPole-v1"), "neither a world-model file"),
        (
            ("fit", "out.zip", "--env", "CartPole-v1", "-p", "n_members=0"),
            "n_members must be an integer of at least 1",
        ),
        (("fit", "out.zip", "--env", "CartPole-v1", "--kind", "dreamer"), "dreamer"),
        (("fit", "out.zip", "--env", "CartPole-v1", "--n-steps", "0"), "positive integer"),
        (("dance",), "dance"),
    ],
)
def test_mistakes_are_one_line(spi, world, words, message, capsys):
    done = spi("dream", *(world if word == "WORLD" else word for word in words))
    assert done.code == 2
    assert any(part in done.err for part in message.split("|")), done.err
    assert done.err.count("\n") == 1
