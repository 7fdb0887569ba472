import importlib.util

import numpy as np
import pytest
from PIL import Image
from tiny_models import CARTPOLE, tiny_deep_spi

from spi_plugins.algorithms.vec_envs import FunctionalVecEnv
from spi_plugins.cli.recording import Moment, Recording, enlargement
from spi_plugins.cli.video_frames import draw
from spi_plugins.dreams.alongside import Dreamt
from spi_plugins.envs.pixel_goal import make_pixel_goal

ENV = ("--env", "spi/CartPole-v0", "--env-kwargs", "max_episode_steps=9")


@pytest.fixture(scope="module")
def deep_spi_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.zip"
    tiny_deep_spi().save(path)
    return path


def frames_of(path):
    with Image.open(path) as picture:
        for i in range(picture.n_frames):
            picture.seek(i)
            yield np.asarray(picture.convert("RGB"))


def test_a_gif_shows_the_dream_of_the_models_own_world_next_to_reality(spi, deep_spi_file, tmp_path):
    words = ("video", deep_spi_file, "--algo", "deep_spi", *ENV, "--n-episodes", 2)
    done = spi(*words, "--no-dream", "-o", "real.gif")
    assert done.code == 0, done.err
    assert "of 2 episodes, return " in done.out
    assert "without a dream" in done.out
    shown = spi(*words, "--max-steps", 5, "-o", "videos/both.gif")
    assert "Wrote videos/both.gif: 5 frames of 1 episode, " in shown.out
    assert "next to a dream of deep_mdp" in shown.out
    real, both = list(frames_of(tmp_path / "real.gif")), list(frames_of(tmp_path / "videos/both.gif"))
    assert len(real) > len(both) == 5
    assert both[0].shape[1] > 1.8 * real[0].shape[1]
    half = both[0].shape[1] // 2
    # The first dream is the real state; below are words.
    pictures = both[0][60:340]
    assert np.abs(pictures[:, 16:half].astype(int) - pictures[:, half + 8 : -8]).mean() < 1
    assert (both[3][350:] < 150).any()


def test_mistakes_are_one_line(spi, deep_spi_file, monkeypatch):
    words = ("video", deep_spi_file, "--algo", "deep_spi", *ENV)
    assert "-o must end in .mp4 or .gif, got video.avi." in spi(*words, "-o", "video.avi").err
    assert "neither" in spi(*words, "-o", "a.gif", "--world-model", "nowhere.zip").err
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "PIL" else found(name))
    done = spi(*words, "-o", "a.gif")
    assert done.code == 2
    assert "'PIL', which is not installed: pip install 'spi-plugins[video]'" in done.err


def test_a_decoded_dream_is_drawn_as_it_is_and_one_without_a_decoder_as_the_nearest_real_frame():
    """Pictures and latents of one number each: the dream is at 2, the real states are at 0 and 3."""
    colors = [np.full((40, 40, 3), value, np.uint8) for value in (0, 200)]
    decoded = np.full((10, 10, 1), 77.0, np.float32)

    def shown(decoded):
        latents = [(np.float32([0]), np.float32([0])), (np.float32([2]), np.float32([3]))]
        moments = [
            Moment(picture, 0, step, 0.5, None, 0.5, Dreamt(step, z, real, decoded, 0.4))
            for step, (picture, (z, real)) in enumerate(zip(colors, latents, strict=True))
        ]
        frame = list(draw(Recording(moments, 10, rendered=True, stored=object())))[1]
        assert frame.shape[0] % 2 == frame.shape[1] % 2 == 0
        return frame[180, frame.shape[1] * 3 // 4]

    assert shown(decoded).tolist() == [77, 77, 77]
    assert shown(None).tolist() == [200, 200, 200]


@pytest.mark.parametrize(("env", "times"), [(make_pixel_goal(size=3, num_hazards=1), 17), (CARTPOLE, None)])
def test_frames_that_show_the_observation_are_known_so_that_an_episodes_last_one_can_be_drawn(env, times):
    vec_env = FunctionalVecEnv(env, 1, seed=0)
    assert enlargement(vec_env, vec_env.reset()) == times
