"""The real safety-gymnasium 1.0.0, every task of it."""

import copy
import json
import pathlib
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.env_checker import check_env as check_env_sb3
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

import spi_wrappers
from spi_integrations.safety_gymnasium import TASKS, make_env
from spi_plugins.cli.env_recipe import EnvRecipe
from spi_plugins.cli.environments import build_env
from spi_wrappers.registration import SAFETY_ROBOTS

# Recorded with the untouched original; data/README.md has the versions.
GOLDEN = json.loads((pathlib.Path(__file__).parents[1] / "data" / "safety_gymnasium.json").read_text())
STATE_TASKS = [task for task in TASKS if "Vision" not in task]
VELOCITY = [task for task in STATE_TASKS if "Velocity" in task]

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is out of date. You should consider upgrading:DeprecationWarning",
    "ignore:.*minimum value is -infinity:UserWarning",
    "ignore:.*maximum value is infinity:UserWarning",
    "ignore:Your action space has dtype float64:UserWarning",
    "ignore:.*fork.*:DeprecationWarning",
    "ignore:.*fork.*:RuntimeWarning",
)


def drive(env, seed, steps):
    """An episode's first steps with a robot that mostly goes ahead: (observation, reward, ends, info)."""
    observation, info = env.reset(seed=seed)
    rng, low, high = np.random.default_rng(seed), env.action_space.low, env.action_space.high
    played = [(observation, 0.0, False, False, info)]
    for _ in range(steps):
        action = rng.uniform(low, high)
        action[0] = abs(action[0])
        played.append(env.step(action))
        if played[-1][2] or played[-1][3]:
            break
    return played


def test_there_are_122_tasks_without_pictures_and_110_with():
    assert (len(STATE_TASKS), len(TASKS), len(VELOCITY)) == (122, 232, 12)
    for task, steps in TASKS.items():
        assert gym.spec(f"spi/{task}").max_episode_steps == steps


@pytest.mark.parametrize("robot", [*SAFETY_ROBOTS, "Velocity"])
def test_every_task_runs_and_its_resets_are_deterministic(robot):
    tasks = VELOCITY if robot == "Velocity" else [t for t in STATE_TASKS if t.startswith(f"Safety{robot}")]
    for task in [task for task in tasks if robot == "Velocity" or task not in VELOCITY]:
        env = gym.make(f"spi/{task}")
        first, info = env.reset(seed=7)
        assert info["cost"] == 0.0
        assert set(info["cost_terms"].values()) <= {0.0}
        env.action_space.seed(0)
        terms = set(info["cost_terms"])
        for _ in range(20):
            observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
            assert env.observation_space.contains(observation), task
            assert (type(reward), type(info["cost"]), truncated) == (float, float, False)
            assert info["cost"] == max(info["cost_terms"].values(), default=0.0)
            assert info["cost"] in (0.0, 1.0)
            assert info["cost"] == info.get("cost_sum", info["cost"])
            assert terms == set(info["cost_terms"])
            if terminated:
                break
        np.testing.assert_array_equal(env.reset(seed=7)[0], first, err_msg=task)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("key", GOLDEN)
def test_layouts_and_first_steps_are_those_of_the_original(key, fast):
    golden, (task, seed) = GOLDEN[key], key.split("|")
    env = make_env(task, fast=fast)
    observation, _ = env.reset(seed=int(seed))
    layout = {name: place.tolist() for name, place in env.task.world_info.layout.items()}
    assert layout == golden["layout"]
    np.testing.assert_allclose(observation, golden["obs0"], rtol=0, atol=1e-12)
    actions = np.random.RandomState(int(seed) + 1000).uniform(-1, 1, (10, env.action_space.shape[0]))
    steps = [env.step(action) for action in actions]
    loose = "Doggo" in task
    np.testing.assert_allclose(steps[-1][0], golden["obs10"], rtol=0, atol=1e-3 if loose else 1e-4)
    assert sum(step[1] for step in steps) == pytest.approx(golden["reward10"], abs=1e-6)


def test_textures_change_nothing_but_pictures():
    plain, lean = (make_env("SafetyPointGoal2-v0", textures=textures) for textures in (True, False))
    for full, bare in zip(drive(plain, 1, 200), drive(lean, 1, 200), strict=True):
        np.testing.assert_array_equal(full[0], bare[0])
        assert full[1:] == bare[1:]
    assert plain.task.model.ntex == lean.task.model.ntex
    assert plain.task.model.ntexdata > 1000 * lean.task.model.ntexdata


@pytest.mark.parametrize(
    "task",
    ["CarGoal2", "PointButton2", "PointPush2", "RacecarCircle2", "AntRace2", "DoggoFadingHard2", "PointRun0"],
)
def test_the_fast_way_pays_and_costs_the_same_bit_for_bit(task):
    fast, plain = (make_env(f"Safety{task}-v0", fast=fast) for fast in (True, False))
    costs = []
    for mine, theirs in zip(drive(fast, 3, 150), drive(plain, 3, 150), strict=True):
        np.testing.assert_allclose(mine[0], theirs[0], rtol=0, atol=1e-12)
        assert mine[1:] == theirs[1:]
        costs.append(mine[4]["cost"])
    if task in ("CarGoal2", "PointButton2", "RacecarCircle2", "PointRun0"):
        assert sum(costs) > 0


@pytest.mark.parametrize("task", ["SafetyPointGoal1-v0", "SafetyPointButton1-v0"])
def test_the_fast_way_agrees_where_goals_are_reached_and_buttons_are_pressed(task):
    fast, plain = (make_env(task, fast=fast) for fast in (True, False))
    np.testing.assert_allclose(fast.reset(seed=2)[0], plain.reset(seed=2)[0], rtol=0, atol=1e-12)
    reached = 0
    for _ in range(400):
        ahead, left = ((plain.task.goal.pos - plain.task.agent.pos) @ plain.task.agent.mat)[:2]
        action = np.clip([ahead, 4 * np.arctan2(left, ahead)], -1, 1)
        mine, theirs = fast.step(action), plain.step(action)
        np.testing.assert_allclose(mine[0], theirs[0], rtol=0, atol=1e-12)
        assert mine[1:] == theirs[1:]
        reached += "goal_met" in mine[4]
    assert reached > 1


@pytest.mark.parametrize("task", ["SafetyPointGoal1-v0", "SafetyAntGoal2-v0", "SafetyHopperVelocity-v1"])
def test_the_checks_of_gymnasium_and_stable_baselines3_pass(task):
    check_env(make_env(task), skip_render_check=True)
    check_env_sb3(gym.make(f"spi/{task}"))
    report = spi_wrappers.check_cost_env(gym.make(f"spi/{task}", max_episode_steps=40), steps=100)
    assert report.ok, report


def test_costs_that_were_run_up_pass_the_check_of_costs():
    env = gym.make("spi/SafetyPointRun0-v0", max_episode_steps=60)
    report = spi_wrappers.check_cost_env(env, steps=130, policy=lambda _: np.array([1.0, 0.0]))
    assert report.ok, report
    assert report.total_cost > 0


@pytest.mark.parametrize("task", ["SafetyPointGoal1-v0", "SafetySwimmerVelocity-v0"])
def test_pickled_and_copied_environments_are_made_anew(task):
    env = make_env(task)
    first = drive(env, 5, 10)
    for again in (pickle.loads(pickle.dumps(env)), copy.deepcopy(env)):
        assert type(again).__name__ == type(env).__name__
        for mine, theirs in zip(drive(again, 5, 10), first, strict=True):
            np.testing.assert_array_equal(mine[0], theirs[0])
            assert mine[1:] == theirs[1:]
    rebuilt = gym.make(gym.make(f"spi/{task}").spec)
    np.testing.assert_array_equal(rebuilt.reset(seed=5)[0], first[0][0])


ARM = {"id": "spi/SafetyPointRun0-v0", "max_episode_steps": 60}


def ahead():
    """Costs and rewards of two episodes from each of two seeds, single, at full speed ahead."""
    rows = []
    for seed in (0, 1):
        env, row = gym.make(**ARM), []
        for reset_seed in (seed, None):
            env.reset(seed=reset_seed)
            for _ in range(60):
                _, reward, _, truncated, info = env.step(np.array([1.0, 0.2]))
                row.append((reward, info["cost"]))
        assert truncated
        rows.append(row)
    return np.array(rows).swapaxes(0, 1)


@pytest.mark.parametrize("cls", [DummyVecEnv, SubprocVecEnv])
def test_costs_in_stable_baselines3_are_those_of_single_environments(cls):
    kwargs = {"start_method": "fork"} if cls is SubprocVecEnv else {}
    env = cls([lambda: gym.make(**ARM)] * 2, **kwargs)
    env.seed(0)
    env.reset()
    played = []
    for step in range(120):
        _, rewards, dones, infos = env.step(np.tile([1.0, 0.2], (2, 1)))
        assert dones.all() == (step in (59, 119))
        played.append([(reward, info["cost"]) for reward, info in zip(rewards, infos, strict=True)])
    env.close()
    np.testing.assert_allclose(played, ahead(), rtol=1e-6)
    assert np.array(played)[..., 1].any()


@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_costs_in_gymnasiums_vectors_are_those_of_single_environments(vectorization, mode):
    kwargs = {"context": "fork"} if vectorization == "async" else {}
    env = gym.make_vec(
        **ARM, num_envs=2, vectorization_mode=vectorization, vector_kwargs={"autoreset_mode": mode, **kwargs}
    )
    _, infos = env.reset(seed=0)
    assert infos["cost"].tolist() == [0.0, 0.0]
    played, over = [], False
    while len(played) < 120:
        _, rewards, _, truncated, infos = env.step(np.tile([1.0, 0.2], (2, 1)))
        if over and mode is AutoresetMode.NEXT_STEP:
            assert infos["cost"].tolist() == [0.0, 0.0]
            over = False
            continue
        over = truncated.all()
        last = infos["final_info"] if over and mode is AutoresetMode.SAME_STEP else infos
        played.append(list(zip(rewards, last["cost"], strict=True)))
    env.close()
    np.testing.assert_array_equal(played, ahead())


def test_repeated_actions_sum_costs_and_say_how_many_frames_they_took():
    env = spi_wrappers.ActionRepeat(gym.make(**ARM), 7)
    env.reset(seed=0)
    played = [env.step(np.array([1.0, 0.2])) for _ in range(9)]
    frames = ahead()[:60, 0]
    assert [step[4]["n_repeats"] for step in played] == [7] * 8 + [4]
    assert [step[4]["cost"] for step in played] == [frames[i : i + 7, 1].sum() for i in range(0, 60, 7)]
    assert sum(step[1] for step in played) == pytest.approx(frames[:, 0].sum())


def test_the_command_line_finds_the_ids():
    env = build_env(EnvRecipe("spi/SafetyPointGoal1-v0", {}), n_envs=2, seed=0)
    assert env.reset().shape == (2, 60)
    assert env.step(np.zeros((2, 2)))[3][0]["cost_terms"] == {"hazards": 0.0}


def test_without_a_seed_layouts_differ_even_where_numpys_seed_does_not():
    observations = []
    for _ in range(2):
        np.random.seed(0)  # noqa: NPY002, what forked processes share
        observations.append(make_env("SafetyPointGoal1-v0").reset()[0])
    assert not np.array_equal(*observations)


def test_a_list_is_an_action_and_steps_need_a_reset():
    env = make_env("SafetyPointGoal1-v0")
    with pytest.raises(gym.error.ResetNeeded, match="SafetyPointGoal1-v0: call reset"):
        env.step([0.0, 0.0])
    env.reset(seed=0)
    assert len(env.step([0.0, 0.0])) == 5


@pytest.mark.parametrize(
    ("task", "kwargs", "message"),
    [
        ("SafetyPointGoal3-v0", {}, "task must be one of 232 names"),
        ("SafetyPointGoal1-v0", {"render_mode": "ascii"}, "render_mode must be"),
        ("SafetyAntVelocity-v1", {"textures": True}, "leave them out"),
        ("SafetyAntVelocity-v1", {"fast": False}, "textures and fast are .* leave them out"),
    ],
)
def test_bad_arguments_are_refused(task, kwargs, message):
    with pytest.raises(ValueError, match=message):
        make_env(task, **kwargs)


def test_seeds_out_of_range_are_refused():
    with pytest.raises(ValueError, match="seed must be"):
        make_env("SafetyPointGoal1-v0").reset(seed=2**32)
