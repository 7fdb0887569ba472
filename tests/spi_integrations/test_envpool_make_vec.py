import sys
import warnings

import numpy as np
import pytest
from stable_baselines3 import PPO

from spi_integrations.envpool import make_vec
from spi_plugins.errors import MissingDependencyError

pytest.importorskip("envpool")


def config(env_id, **kwargs):
    return make_vec(env_id, 1, **kwargs).pool.config


def test_atari_has_the_settings_of_the_paper():
    got = config("Breakout-v5")
    want = {
        "frame_skip": 4,
        "stack_num": 4,
        "gray_scale": True,
        "img_height": 84,
        "img_width": 84,
        "max_episode_steps": 108_000,
        "episodic_life": True,
        "reward_clip": True,
        "repeat_action_probability": 0.0,
        "noop_max": 30,
        "use_fire_reset": True,
        "full_action_space": False,
    }
    assert {key: got[key] for key in want} == want
    env = make_vec("Pong-v5", 2)
    obs = env.reset()
    assert (obs.shape, obs.dtype) == ((2, 4, 84, 84), np.uint8)
    assert env.pool.config["num_envs"] == 2


def test_the_stochastic_variant_has_sticky_actions_and_more_no_ops():
    got = config("Breakout-v5", stochastic=True)
    assert (got["repeat_action_probability"], got["noop_max"]) == (pytest.approx(0.3), 60)
    with pytest.raises(ValueError, match="stochastic=True sets noop_max"):
        make_vec("Breakout-v5", 1, stochastic=True, noop_max=10)


def test_arguments_override_the_settings():
    got = config("Breakout-v5", episodic_life=False, reward_clip=False, frame_skip=2, seed=9, noop_max=1)
    assert (got["episodic_life"], got["reward_clip"], got["frame_skip"]) == (False, False, 2)
    assert (got["seed"], got["noop_max"]) == (9, 1)


def test_other_environments_have_their_own_arguments_only():
    env = make_vec("CartPole-v1", 2, max_episode_steps=7, seed=3)
    assert env.pool.config["max_episode_steps"] == 7
    assert env.seed(3) == [3, 4]
    for name in ("stochastic", "episodic_life", "reward_clip"):
        with pytest.raises(TypeError, match=f"{name}: only for Atari, and 'CartPole-v1' is not"):
            make_vec("CartPole-v1", 2, **{name: True})
    with pytest.raises(TypeError, match="Did you mean 'frame_skip'"):
        make_vec("Breakout-v5", 1, frameskip=3)
    with pytest.raises(TypeError, match="no argument 'env_type'"):
        make_vec("CartPole-v1", 1, env_type="dm")


def test_the_same_seed_gives_the_same_frames():
    first, second, other = (make_vec("Breakout-v5", 2, seed=seed) for seed in (1, 1, 2))
    first.reset(), second.reset(), other.reset()
    actions = np.random.default_rng(0).integers(0, 4, (20, 2))
    differs = False
    for action in actions:
        frames = first.step(action)[0]
        np.testing.assert_array_equal(frames, second.step(action)[0])
        differs |= not np.array_equal(frames, other.step(action)[0])
    assert differs


def test_an_unknown_id_is_answered_with_a_near_one():
    with pytest.raises(ValueError, match="Did you mean 'Breakout-v5'"):
        make_vec("Brakeout-v5")
    with pytest.raises(ValueError, match="list_all_envs"):
        make_vec("?")


@pytest.mark.parametrize(("kwargs", "message"), [({"num_envs": 0}, "num_envs"), ({"seed": 2**31}, "seed")])
def test_numbers_out_of_range_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=f"{message} must"):
        make_vec("CartPole-v1", **kwargs)


def test_without_envpool_the_command_to_install_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "envpool", None)
    with pytest.raises(MissingDependencyError, match=r"pip install .spi-plugins\[envpool\].") as caught:
        make_vec("Breakout-v5")
    assert isinstance(caught.value, ImportError)


def test_stable_baselines3_trains_on_atari_without_wrappers_or_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = make_vec("Pong-v5", 2, seed=0, max_episode_steps=6)
        model = PPO("CnnPolicy", env, n_steps=8, batch_size=16, n_epochs=1, seed=0, device="cpu").learn(16)
    assert model.get_env() is env  # four stacked frames come first already: nothing is transposed
    assert [episode["l"] for episode in model.ep_info_buffer] == [6, 6]
