import copy
import functools
import json
import pickle
import subprocess
import sys
import warnings

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import spi_plugins  # noqa: F401 - registers the ids
from spi_plugins.envs import autoreset
from spi_plugins.envs.cartpole import make_cartpole
from spi_plugins.envs.pixel_goal import make_pixel_goal
from spi_plugins.envs.probe import make_probe
from spi_wrappers.functional import FunctionalGymEnv
from spi_wrappers.functional.face import draw_key_data

# One small board for most tests, so that they share compilations; its episodes end in both ways, and cost.
SMALL = {"size": 3, "num_hazards": 4, "max_episode_steps": 4}
BOARD = make_pixel_goal(**SMALL)
IDS = ("spi/CartPole-v0", "spi/PixelGoal-v0", "spi/ConfoundingGrid-v0")


@pytest.mark.parametrize("name", IDS)
def test_gymnasiums_checker_has_no_complaint(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(name).unwrapped)


@pytest.mark.parametrize("name", IDS)
def test_stable_baselines_checker_has_no_complaint(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sb3_check_env(gymnasium.make(name, render_mode="rgb_array"), skip_render_check=False)


@pytest.mark.parametrize("kind", ["box_target", "dict_rule", "image_side"])
def test_both_checkers_take_every_kind_of_observation_and_action(kind):
    env = FunctionalGymEnv(make_probe(kind))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*does not have a spec.*")
        warnings.filterwarnings("ignore", message=".*not having a spec.*")
        check_env(env)
        sb3_check_env(env)


def test_it_steps_as_the_machinery_does():
    env = FunctionalGymEnv(BOARD)
    obs, info = env.reset(seed=3)
    key = jax.random.wrap_key_data(draw_key_data(np.random.Generator(np.random.PCG64(3))))
    state, expected = jax.jit(functools.partial(autoreset.reset, BOARD))(BOARD.params, key[None])
    step = jax.jit(functools.partial(autoreset.step, BOARD))
    np.testing.assert_array_equal(obs, expected[0])
    assert info == {"cost": 0.0}
    for action in (0, 3, 1, 2, 0, 1, 1, 3, 2, 1):
        state, out = step(BOARD.params, state, np.array([action]))
        obs, reward, terminated, truncated, info = env.step(action)
        np.testing.assert_array_equal(obs, out.final_obs[0])
        assert (reward, terminated, truncated) == (out.reward[0], out.terminated[0], out.truncated[0])
        assert info == {"cost": float(out.cost[0])}
        if terminated or truncated:
            obs, _ = env.reset()
        np.testing.assert_array_equal(obs, out.obs[0])


def test_rewards_and_flags_are_python_scalars():
    env = FunctionalGymEnv(make_probe("cost_conflict"))
    env.reset(seed=0)
    _, reward, terminated, truncated, info = env.step(np.int64(1))
    assert [type(x) for x in (reward, terminated, truncated, info["cost"])] == [float, bool, bool, float]
    assert (reward, terminated, truncated, info["cost"]) == (1.0, True, False, 1.0)


def test_a_dict_observation_is_a_dict_of_numpy_values():
    env = FunctionalGymEnv(make_probe("dict_rule"))
    obs, _ = env.reset(seed=0)
    assert env.observation_space.contains(obs)
    assert isinstance(obs["rule"], int)
    assert obs["signal"].shape == (1,)


def test_a_box_action_keeps_its_shape():
    env = FunctionalGymEnv(make_probe("box_target"))
    obs, _ = env.reset(seed=0)
    assert env.step(obs)[1] == 0.0


def test_the_time_limit_truncates():
    env = FunctionalGymEnv("spi_plugins.envs.cartpole:make_cartpole", max_episode_steps=2)
    env.reset(seed=0)
    assert env.step(0)[2:4] == (False, False)
    assert env.step(1)[2:4] == (False, True)


def test_only_reset_with_a_seed_decides_what_happens():
    def episode(env):
        rows = []
        for _ in range(8):
            obs, reward, terminated, truncated, _ = env.step(1)
            rows.append((obs.tolist(), reward))
            if terminated or truncated:
                obs, _ = env.reset()
                rows.append(obs.tolist())
        return rows

    one, two = FunctionalGymEnv(BOARD), FunctionalGymEnv("spi/PixelGoal-v0", **SMALL)
    first = one.reset(seed=11)[0], episode(one)
    np.random.seed(0)  # noqa: NPY002 - the global generator must not matter
    second = two.reset(seed=11)[0], episode(two)
    np.testing.assert_array_equal(first[0], second[0])
    assert first[1] == second[1]
    assert not np.array_equal(one.reset(seed=12)[0], first[0])


def test_episodes_without_a_seed_differ():
    env = FunctionalGymEnv(BOARD)
    starts = [env.reset()[0] for _ in range(4)]
    assert any(not np.array_equal(starts[0], start) for start in starts[1:])


def test_observations_may_be_kept_and_written_to():
    env = FunctionalGymEnv(BOARD)
    obs, _ = env.reset(seed=0)
    kept = obs.copy()
    env.step(0)
    np.testing.assert_array_equal(obs, kept)
    obs[:] = 0


def test_a_spec_goes_to_json_and_back():
    env = gymnasium.make("spi/PixelGoal-v0", render_mode="rgb_array", size=3, num_hazards=4)
    text = env.spec.to_json()
    json.loads(text)
    twin = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(text))
    np.testing.assert_array_equal(env.reset(seed=5)[0], twin.reset(seed=5)[0])
    np.testing.assert_array_equal(env.render(), twin.render())
    assert twin.observation_space == env.observation_space


def test_a_fresh_process_makes_it_by_a_module_and_an_id():
    code = "import gymnasium; print(gymnasium.make('spi_plugins:spi/CartPole-v0').reset(seed=0)[1])"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "{'cost': 0.0}"


@pytest.mark.parametrize("env", ["spi/PixelGoal-v0", BOARD], ids=["name", "object"])
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_goes_on_in_the_midst_of_an_episode(env, duplicate):
    env = FunctionalGymEnv(env, **({} if env is BOARD else SMALL))
    env.reset(seed=0)
    twin = duplicate(env)
    for action in (0, 1, 2, 3, 0, 1):
        mine, theirs = env.step(action), twin.step(action)
        np.testing.assert_array_equal(mine[0], theirs[0])
        assert mine[1:] == theirs[1:]
        if mine[2] or mine[3]:
            np.testing.assert_array_equal(env.reset()[0], twin.reset()[0])


def test_a_named_environment_of_unpicklable_functions_can_be_pickled(monkeypatch):
    def make():
        return make_cartpole()._replace(reward=lambda state, action, after, params: state[0])

    monkeypatch.setattr("spi_plugins.envs.cartpole.make_local", make, raising=False)
    env = FunctionalGymEnv("spi_plugins.envs.cartpole:make_local")
    obs, _ = env.reset(seed=0)
    assert pickle.loads(pickle.dumps(env)).step(0)[1] == pytest.approx(obs[0])


def counting_cartpole():
    traces = []
    env = make_cartpole()

    def transition(state, action, key, params):
        traces.append(1)
        return env.transition(state, action, key, params)

    return env._replace(transition=transition), traces


def test_one_compilation_serves_all_equal_environments():
    functional, traces = counting_cartpole()
    for seed in range(3):
        env = FunctionalGymEnv(functional)
        for _ in range(2):
            env.reset(seed=seed)
            for _ in range(3):
                env.step(0)
            env.reset()
    assert len(traces) == 1


def test_parameters_are_swapped_without_a_new_compilation():
    functional, traces = counting_cartpole()
    env = FunctionalGymEnv(functional)
    env.reset(seed=0)
    before = env.step(1)[0]
    env.params = env.params._replace(force=np.float32(0))
    env.reset(seed=0)
    after = env.step(1)[0]
    assert abs(after[1]) < 0.06 < abs(before[1])
    assert len(traces) == 1


def test_the_frame_is_a_new_array_each_time():
    env = FunctionalGymEnv(BOARD, render_mode="rgb_array")
    env.reset(seed=0)
    frame = env.render()
    assert frame.dtype == np.uint8
    assert frame.shape == (306, 306, 3)
    kept = frame.copy()
    frame[:] = 0
    np.testing.assert_array_equal(env.render(), kept)


def test_an_environment_that_does_not_render_says_so():
    assert FunctionalGymEnv(make_probe("two_steps")).metadata["render_modes"] == []
    with pytest.raises(ValueError, match=r"render_mode must be None or one of \[\] for probe:two_steps"):
        FunctionalGymEnv(make_probe("two_steps"), render_mode="rgb_array")
    with pytest.raises(ValueError, match=r"one of \['rgb_array'\] for cartpole, got 'ascii'"):
        FunctionalGymEnv(make_cartpole(), render_mode="ascii")
    env = FunctionalGymEnv(make_cartpole())
    env.reset(seed=0)
    assert env.render() is None


def test_steps_outside_an_episode_are_refused():
    env = FunctionalGymEnv(make_probe("cost_conflict"))
    with pytest.raises(ResetNeeded):
        env.step(0)
    env.reset(seed=0)
    env.step(0)
    with pytest.raises(ResetNeeded):
        env.step(0)
    env.reset()
    env.step(1)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (2, r"below \(2,\), got \[2\]"),
        (-1, "at least 0"),
        (0.5, "integers, got dtype float64"),
        (np.array([0, 1]), r"shape \(1,\) .*got \(1, 2\)"),
    ],
)
def test_wrong_discrete_actions_are_refused(action, message):
    env = FunctionalGymEnv(make_cartpole())
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(action)


def test_a_box_action_must_be_finite():
    env = FunctionalGymEnv(make_probe("box_target"))
    env.reset(seed=0)
    with pytest.raises(ValueError, match="finite"):
        env.step(np.array([np.nan]))


def test_options_that_nobody_reads_are_refused():
    env = FunctionalGymEnv(make_cartpole())
    with pytest.raises(ValueError, match=r"options must be among \[\], got \['low'\]"):
        env.reset(options={"low": 0})


@pytest.mark.parametrize(
    ("env", "kwargs", "error", "message"),
    [
        (3, {}, TypeError, "env must be a FunctionalEnv, .*got int"),
        (make_cartpole(), {"size": 3}, TypeError, r"arguments \['size'\] are for an env given by name"),
        ("json:dumps", {"obj": 1}, TypeError, "env must be a FunctionalEnv, .*got str"),
        ("json:nothing", {}, ValueError, "the module 'json' has no attribute 'nothing'"),
        ("spi_no_such_module:x", {}, ImportError, "spi_no_such_module"),
        ("spi/CartPol-v0", {}, KeyError, "spi/CartPole-v0"),
        ("spi/CartPole-v0", {"max_episode_steps": 0}, ValueError, "max_episode_steps"),
    ],
)
def test_what_is_no_functional_environment_is_refused(env, kwargs, error, message):
    with pytest.raises(error, match=message):
        FunctionalGymEnv(env, **kwargs)
