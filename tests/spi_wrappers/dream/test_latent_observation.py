import warnings

import gymnasium
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import FrameStackObservation
from tiny_worlds import tiny_world

import spi_plugins
from spi_wrappers import DreamEnv, LatentObservation
from spi_wrappers.vector import LatentObservation as LatentVectorObservation


@pytest.fixture(scope="module")
def cartpole_space():
    return gymnasium.make("CartPole-v1").observation_space


@pytest.fixture(scope="module")
def path(tmp_path_factory, cartpole_space):
    file = tmp_path_factory.mktemp("worlds") / "world.zip"
    tiny_world(cartpole_space).save(file)
    return str(file)


def test_it_shows_what_the_model_encodes(path):
    env = LatentObservation(gymnasium.make("CartPole-v1"), path)
    stored = spi_plugins.load_world_model(path)
    obs, _ = env.reset(seed=0)
    raw = env.env.unwrapped.state.astype(np.float32)
    statistics = stored.fitted.params["statistics"]
    np.testing.assert_allclose(obs, (raw - statistics["mean"]) / statistics["deviation"], rtol=1e-6)
    assert obs.dtype == np.float32


def test_the_spaces_are_those_of_the_dream(path):
    for kind in ("latent", "decoded"):
        real = LatentObservation(gymnasium.make("CartPole-v1"), path, observation=kind)
        dream = DreamEnv(path, observation=kind)
        assert real.observation_space == dream.observation_space
        assert real.action_space == dream.action_space
        obs, _ = real.reset(seed=0)
        assert obs in real.observation_space


def test_it_is_a_wrapper_that_gymnasium_can_build_again(path):
    env = LatentObservation(gymnasium.make("CartPole-v1"), path, observation="decoded")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*different from the unwrapped version")
        check_env(env, skip_render_check=True)
    again = gymnasium.make(env.spec)
    np.testing.assert_array_equal(env.reset(seed=1)[0], again.reset(seed=1)[0])


@pytest.mark.parametrize("mode", AutoresetMode)
def test_its_twin_views_every_copy_and_their_last_observations(path, mode):
    def real():
        return gymnasium.make("CartPole-v1", max_episode_steps=6)

    ours = LatentVectorObservation(SyncVectorEnv([real] * 3, autoreset_mode=mode), path)
    theirs = SyncVectorEnv([lambda: LatentObservation(real(), path)] * 3, autoreset_mode=mode)
    assert ours.observation_space == theirs.observation_space
    np.testing.assert_allclose(ours.reset(seed=2)[0], theirs.reset(seed=2)[0], rtol=1e-5, atol=1e-6)
    for t in range(9):
        mine, yours = ours.step(np.array([0, 1, t % 2])), theirs.step(np.array([0, 1, t % 2]))
        np.testing.assert_allclose(mine[0], yours[0], rtol=1e-5, atol=1e-6)
        done = mine[2] | mine[3]
        if mode is AutoresetMode.SAME_STEP and done.any():
            for i in np.flatnonzero(done):
                last, expected = mine[4]["final_obs"][i], yours[4]["final_obs"][i]
                np.testing.assert_allclose(last, expected, rtol=1e-5, atol=1e-6)
        if mode is AutoresetMode.DISABLED and done.any():
            mask = {"reset_mask": done}
            fresh = ours.reset(options=mask)[0], theirs.reset(options={"reset_mask": done.copy()})[0]
            np.testing.assert_allclose(*fresh, rtol=1e-5, atol=1e-6)


def test_frame_stacks_are_put_inside(path):
    stacked = FrameStackObservation(gymnasium.make("CartPole-v1"), 2)
    stored = tiny_world(stacked.observation_space)
    env = LatentObservation(stacked, stored)
    assert env.reset(seed=0)[0].shape == (8,)
    with pytest.raises(ValueError, match="The world model takes observations in"):
        LatentObservation(stacked, path)


class Picture(gymnasium.Env):
    """Random pictures with their channels last."""

    observation_space = gymnasium.spaces.Box(0, 255, (36, 40, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.integers(256, size=(36, 40, 3), dtype=np.uint8), {}


def test_images_may_have_their_channels_at_either_end():
    stored = tiny_world(gymnasium.spaces.Box(0, 255, (3, 36, 40), np.uint8), latent_dim=4, n=4)
    obs, _ = LatentObservation(Picture(), stored).reset(seed=0)
    raw, _ = Picture().reset(seed=0)
    encoded = stored.fitted.model.encode(stored.fitted.params, jnp.asarray(np.moveaxis(raw, -1, 0)[None]))[0]
    np.testing.assert_allclose(obs, np.clip(encoded, stored.latent_low, stored.latent_high), atol=1e-5)


def test_wrong_arguments_are_refused(path):
    with pytest.raises(ValueError, match="observation must be 'latent' or 'decoded', got 'raw'"):
        LatentObservation(gymnasium.make("CartPole-v1"), path, observation="raw")
    with pytest.raises(ValueError, match="the environment's are in"):
        LatentObservation(gymnasium.make("Pendulum-v1"), path)
    with pytest.raises(FileNotFoundError, match="neither a world-model file"):
        LatentObservation(gymnasium.make("CartPole-v1"), "nowhere")
