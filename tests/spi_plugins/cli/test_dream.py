import json
import pathlib

import gymnasium
import numpy as np
import pytest
from stable_baselines3.common.vec_env import unwrap_vec_normalize
from tiny_runs import TINY
from tiny_worlds import tiny_world

from spi_plugins import PPO
from spi_plugins.cli.evaluation import load_model, open_env_of
from spi_plugins.cli.run_folder import RunFolder
from spi_plugins.dreams.file import load_world_model

pytestmark = pytest.mark.usefixtures("own_dreams")


@pytest.fixture
def world(tmp_path):
    path = tmp_path / "world.zip"
    tiny_world(gymnasium.make("CartPole-v1").observation_space).save(path)
    return str(path)


def test_a_model_is_fitted_checked_and_drawn(spi, tmp_path):
    path = str(tmp_path / "world.zip")
    fit = ("dream", "fit", path, "--env", "CartPole-v1", "-n", "120", "--n-updates", "5", "--n-envs", "2")
    done = spi(*fit, "--transition-density", "normal", "-p", "hidden=[8]", "n_members=2", "batch_size=16")
    assert done.code == 0, done.err
    assert load_world_model(path).settings["transition_density"] == "normal"
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


def test_a_policy_acts_under_the_wrappers_and_the_normalization_of_its_run(spi, monkeypatch):
    wrapper = ("--wrapper", "gymnasium.wrappers:TimeLimit", "max_episode_steps=5")
    words = ("--n-envs", 2, "--no-preset", *TINY, "--save-freq", 0, "--eval-episodes", 0)
    done = spi("train", "ppo", "--env", "CartPole-v1", "-n", 16, *words, *wrapper, "--normalize")
    assert done.code == 0, done.err
    run = "runs/ppo/CartPole-v1_1"
    small = ("-n", 60, "--n-updates", 2, "-p", "hidden=[8]", "n_members=1")
    fit = ("dream", "fit", "world.zip", "--policy", run, *small)
    assert "if you trust it, add --trust-imports" in spi(*fit).err
    statistics, seen, predict = unwrap(run), [], PPO.predict
    monkeypatch.setattr(
        PPO, "predict", lambda self, obs, *a, **k: (seen.append(obs), predict(self, obs, *a, **k))[1]
    )
    done = spi(*fit, "--trust-imports")
    assert done.code == 0, done.err
    assert "60 steps of ppo's actions, 12 episodes with a mean return of 5" in done.out
    first, _ = gymnasium.make("CartPole-v1").reset(seed=0)
    np.testing.assert_allclose(seen[0], statistics.normalize_obs(first)[None], rtol=1e-5)
    assert load_world_model("world.zip").observation_space.shape == (4,)
    seen.clear()
    done = spi("dream", "eval", "world.zip", "--policy", run, "--n-episodes", 2, "--trust-imports", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["real_return"] == [5.0, 5.0]
    np.testing.assert_allclose(seen[0], statistics.normalize_obs(first), rtol=1e-5)
    done = spi(
        "video", run, "--trust-imports", "--world-model", "world.zip", "--n-episodes", 1, "-o", "video.gif"
    )
    assert done.code == 0, done.err
    assert "next to a dream of ensemble" in done.out


def unwrap(run):
    model = load_model("ppo", pathlib.Path(run, "model.zip"), trusted=False)
    task = RunFolder(pathlib.Path(run)).read_config().evaluation_task()._replace(n_episodes=1)
    return unwrap_vec_normalize(open_env_of(model, pathlib.Path(run, "model.zip"), task))


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
