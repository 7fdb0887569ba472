import json
import os
import pickle
import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from lockstep import play_alike
from stable_baselines3.common.env_checker import check_env as sb3_check_env
from tiny_worlds import known_world, tiny_world

import spi_plugins
from spi_wrappers import DreamEnv, DreamVectorEnv
from spi_wrappers.dream.observation import View

NUM = 4
MODES = pytest.mark.parametrize("mode", AutoresetMode)
OPTIONS = [{}, {"observation": "decoded"}, {"start": "fixed", "stochastic": False, "termination": "none"}]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    file = tmp_path_factory.mktemp("worlds") / "world.zip"
    tiny_world().save(file)
    return str(file)


def make(path, **options):
    return gymnasium.make("spi/Dream-v0", model=path, **{"horizon": 5, **options})


@pytest.mark.parametrize("options", OPTIONS)
def test_both_checkers_pass_without_a_warning(path, options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(make(path, **options).unwrapped)
        sb3_check_env(make(path, **options).unwrapped)


def test_the_spec_builds_the_same_dream_again(path):
    env = make(path, observation="decoded", uncertainty_penalty=0.5, termination="none")
    assert json.loads(env.spec.to_json())["kwargs"]["model"] == path
    again = gymnasium.make(env.spec)
    env.reset(seed=3)
    again.reset(seed=3)
    for action in (0, 1, 1):
        first, second = env.step(action), again.step(action)
        np.testing.assert_array_equal(first[0], second[0])
        assert first[1:] == second[1:]


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 1, (3,), bool),
        spaces.Box(0, 2**40, (3,), np.int64),
        spaces.Box(0, 3, (3,), np.int64),
        spaces.Box(-0.1, 0.1, (3,), np.float64),
    ],
    ids=str,
)
def test_decoded_observations_are_in_their_space(space):
    world = tiny_world(space)
    dream = DreamEnv.from_model(world, observation="decoded")
    seen = [dream.reset(seed=0)[0], dream.step(0)[0]]
    view = View(world, "decoded", space)
    seen += [view.one(space.sample()), view.one(space.high)]
    for obs in seen:
        assert dream.observation_space.contains(obs)


def test_a_dream_takes_actions_of_several_axes_that_do_not_count_from_0():
    actions = spaces.MultiDiscrete([[2, 3], [3, 2]], start=[[1, 0], [0, -1]])
    dream = DreamEnv.from_model(tiny_world(action_space=actions), termination="none")
    dream.reset(seed=0)
    for i in range(3):
        assert np.isfinite(dream.step(actions.start + i % 2)[1])
    with pytest.raises(ValueError, match="action must be at least 0 and below"):
        dream.step(actions.start + 2)


def test_spaces_are_finite_and_contain_every_sample(path):
    for options in ({}, {"observation": "decoded"}):
        env = make(path, **options).unwrapped
        assert np.isfinite(env.observation_space.low).all()
        assert np.isfinite(env.observation_space.high).all()
        obs, _ = env.reset(seed=0)
        for step in range(40):
            assert obs in env.observation_space
            obs, _, terminated, truncated, _ = env.step(step % 2)
            if terminated or truncated:
                obs, _ = env.reset()


def test_info_has_cost_uncertainty_and_step(path):
    env = make(path, termination="none")
    assert env.reset(seed=0)[1] == {"cost": 0.0, "dream_step": 0, "model_uncertainty": 0.0}
    infos = [env.step(0)[4] for _ in range(3)]
    assert [info["dream_step"] for info in infos] == [1, 2, 3]
    assert all(isinstance(info["dream_step"], int) and info["model_uncertainty"] > 0 for info in infos)


def test_where_episodes_begin(path):
    stored = spi_plugins.load_world_model(path)
    beginnings = {
        "buffer": stored.starts,
        "distinct": stored.starts,
        "initial": stored.starts[stored.first],
        "fixed": stored.starts[:1],
    }
    for start, allowed in beginnings.items():
        env = make(path, start=start)
        seen = {tuple(env.reset(seed=seed)[0].tolist()) for seed in range(40)}
        assert seen <= {tuple(row.tolist()) for row in np.float32(allowed)}
        assert len(seen) == 1 if start == "fixed" else len(seen) > 2


@MODES
@pytest.mark.parametrize("options", OPTIONS[:2])
def test_a_vector_of_dreams_is_as_many_single_ones(path, mode, options):
    kwargs = {"horizon": 5, "uncertainty_penalty": 0.1, **options}
    ours = DreamVectorEnv(NUM, path, autoreset_mode=mode, **kwargs)
    theirs = SyncVectorEnv([lambda: DreamEnv(path, **kwargs)] * NUM, autoreset_mode=mode)
    assert play_alike(ours, theirs, assert_alike, steps=12) > 3


def assert_alike(ours, theirs):
    """Equal but for the last bits of products, which differ between one row and many."""
    assert type(ours) is type(theirs)
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for key in ours:
            assert_alike(ours[key], theirs[key])
    elif isinstance(ours, tuple) or (isinstance(ours, np.ndarray) and ours.dtype == object):
        for mine, yours in zip(ours, theirs, strict=True):
            assert_alike(mine, yours)
    elif ours is not None:
        assert np.asarray(ours).dtype == np.asarray(theirs).dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_make_vec_knows_the_modes(path):
    for mode in AutoresetMode:
        env = gymnasium.make_vec(
            "spi/Dream-v0", num_envs=3, model=path, vector_kwargs={}, autoreset_mode=mode
        )
        assert isinstance(env, DreamVectorEnv)
        assert env.metadata["autoreset_mode"] is mode


def test_dreams_can_be_pickled_in_the_midst_of_an_episode(path):
    env = make(path, termination="none")
    env.reset(seed=0)
    env.step(0)
    twin = pickle.loads(pickle.dumps(env.unwrapped))
    np.testing.assert_array_equal(env.step(1)[0], twin.step(1)[0])


def test_dreams_run_in_processes(path):
    def one():
        return DreamEnv(path, horizon=3)

    env = AsyncVectorEnv([one] * 2, context="forkserver") if os.name == "posix" else SyncVectorEnv([one] * 2)
    try:
        obs, _ = env.reset(seed=0)
        assert obs.shape == (2, 4)
        env.step(np.zeros(2, np.int64))
    finally:
        env.close()


def test_a_fresh_process_makes_one_by_module_and_id(path):
    code = (
        "import gymnasium, sys\n"
        f"env = gymnasium.make('spi_plugins:spi/Dream-v0', model={path!r})\n"
        "print(env.reset(seed=0)[0].shape, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "(4,) False", done.stderr


def test_a_live_model_is_dreamt_and_swapped():
    env = DreamEnv.from_model(known_world(), np.ones((2, 1)), horizon=3, latent_low=-9.0, latent_high=9.0)
    env.reset(seed=0)
    assert env.step(np.zeros(1, np.float32))[1:3] == (1.0, False)
    env.set_params({"end": np.float32(1.0), "noise": np.float32(0.0)}, np.full((2, 1), 4.0))
    env.reset()
    assert env.step(np.zeros(1, np.float32))[1:3] == (4.0, True)
    many = DreamVectorEnv.from_model(5, known_world(), np.ones((2, 1)))
    many.reset(seed=0)
    many.set_params({"end": np.float32(1.0), "noise": np.float32(0.0)})
    assert many.step(np.zeros((5, 1), np.float32))[2].all()


def test_actions_of_a_space_that_counts_from_elsewhere():
    stored = tiny_world(action_space=gymnasium.spaces.Discrete(2, start=5))
    env = DreamEnv.from_model(stored, horizon=4)
    env.reset(seed=0)
    assert env.action_space == gymnasium.spaces.Discrete(2, start=5)
    env.step(6)
    with pytest.raises(ValueError, match="action must be at least 0"):
        env.step(0)


def test_pictures(path):
    env = make(path, render_mode="rgb_array")
    env.reset(seed=0)
    env.step(0)
    frame = env.render()
    assert frame.dtype == np.uint8
    assert frame.ndim == 3
    image = gymnasium.spaces.Box(0, 255, (1, 36, 36), np.uint8)
    seen = DreamEnv.from_model(tiny_world(image, latent_dim=4), horizon=3, render_mode="rgb_array")
    seen.reset(seed=0)
    assert seen.render().shape[1] == 2 * frame.shape[1]  # the decoded frame next to the latent


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"horizon": 0}, ValueError, "horizon must be an integer of at least 1"),
        ({"observation": "frames"}, ValueError, "observation must be one of"),
        ({"start": "anywhere"}, ValueError, "start must be one of 'buffer', 'distinct', 'initial', 'fixed'"),
        ({"speed": 3}, TypeError, "speed"),
        ({"render_mode": "human_eye"}, ValueError, "render_mode"),
    ],
)
def test_wrong_options_are_refused(path, options, error, message):
    with pytest.raises(error, match=message):
        DreamEnv(path, **options)


def test_a_model_that_is_not_there_is_named():
    with pytest.raises(FileNotFoundError, match="neither a world-model file nor a registered dream"):
        DreamEnv("nowhere.zip")
    with pytest.raises(TypeError, match="model must be a StoredWorldModel"):
        DreamEnv.from_model("path.zip")
    with pytest.raises(TypeError, match="needs starts="):
        DreamEnv.from_model(known_world())
