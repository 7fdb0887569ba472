import importlib.metadata
import importlib.util
import pathlib

import gymnasium as gym
import numpy as np
import pytest
from cost_envs import RandomCosts
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import DependencyNotInstalled
from gymnasium.vector import SyncVectorEnv

import spi_wrappers
from spi_wrappers import vector
from spi_wrappers.cost.velocity import SPEED_LIMITS
from spi_wrappers.cost.velocity_envs import VELOCITY_IDS

# Made by data/record_safety_velocity.py with safety-gymnasium 1.0.0's own velocity tasks, version 1.
RECORDED = np.load(pathlib.Path(__file__).parents[2] / "data" / "safety_velocity.npz")
ROBOTS = pytest.mark.parametrize("robot", SPEED_LIMITS)


def recorded(robot):
    names = ("qpos", "qvel", "action", "x_velocity", "y_velocity", "cost", "length")
    return {name: RECORDED[f"{robot}/{name}"] for name in names}


class Replay(gym.Env):
    """Tells the velocities of a recording."""

    def __init__(self, robot, data):
        self.spec = EnvSpec(f"{robot}-v5", "nowhere:Nothing")
        self.observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
        self.action_space = gym.spaces.Discrete(2)
        self.data, self.t = data, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        info = {name: self.data[name][self.t] for name in ("x_velocity", "y_velocity")}
        self.t += 1
        return np.zeros(1, np.float32), 0.0, False, False, info


@ROBOTS
def test_recorded_velocities_cost_what_safety_gymnasium_charged(robot):
    data = recorded(robot)
    assert 0 < data["cost"].mean() < 1
    env = spi_wrappers.VelocityCost(Replay(robot, data))
    assert env.reset()[1] == {"cost": 0.0}
    costs = [env.step(0)[4]["cost"] for _ in data["cost"]]
    np.testing.assert_array_equal(costs, data["cost"])


@ROBOTS
@pytest.mark.filterwarnings("ignore:.*v4 is out of date:DeprecationWarning")
def test_the_same_actions_cost_the_same_in_gymnasium(robot):
    """On the MuJoCo of the recording, to rounding; on another one while contacts have not told them apart."""
    data = recorded(robot)
    env = gym.make(f"{robot}-v4")
    env = spi_wrappers.VelocityCost(env)
    same = f"mujoco=={importlib.metadata.version('mujoco')}" in str(RECORDED["origin"])
    start = 0
    for qpos, qvel, length in zip(data["qpos"], data["qvel"], data["length"], strict=True):
        env.reset(seed=0)
        env.unwrapped.set_state(qpos, qvel)
        for t in range(start, start + (length if same else 5)):
            *_, info = env.step(data["action"][t])
            np.testing.assert_allclose(info["x_velocity"], data["x_velocity"][t], atol=1e-6 if same else 1e-3)
            assert info["cost"] == data["cost"][t]
        start += length
    env.close()


@ROBOTS
def test_the_registered_id_has_the_robots_threshold(robot):
    env = gym.make(VELOCITY_IDS[robot])
    assert isinstance(env, spi_wrappers.VelocityCost)
    assert env.spec.max_episode_steps == 1000
    assert (env.account.threshold, env.account.axes) == SPEED_LIMITS[robot]
    env.action_space.seed(0)
    env.reset(seed=0)
    for _ in range(15):
        *_, terminated, _, info = env.step(env.action_space.sample())
        speed = info["x_velocity"]
        if SPEED_LIMITS[robot].axes == "xy":
            speed = np.hypot(speed, info["y_velocity"])
        assert info["cost"] == float(speed > SPEED_LIMITS[robot].threshold)
        if terminated:
            env.reset()
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert str(again) == str(env)


def test_the_ids_make_vector_environments():
    env = gym.make_vec(VELOCITY_IDS["Hopper"], num_envs=2)
    env = vector.CostMonitor(env)
    _, infos = env.reset(seed=0)
    np.testing.assert_array_equal(infos["cost"], [0.0, 0.0])
    for _ in range(60):
        *_, infos = env.step(env.action_space.sample())
        assert infos["cost"].shape == (2,)
    assert env.episode_count > 0


def test_without_mujoco_the_error_names_the_extra(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mujoco" else find(name))
    with pytest.raises(DependencyNotInstalled, match=r"mujoco.*spi-plugins\[mujoco\]"):
        gym.make(VELOCITY_IDS["Ant"])


def test_envpool():
    envpool = pytest.importorskip("envpool")
    env = vector.VelocityCost(
        envpool.make("Ant-v4", env_type="gymnasium", num_envs=3, max_episode_steps=4, seed=0)
    )
    assert tuple(env.account.__dict__[key] for key in ("threshold", "axes")) == SPEED_LIMITS["Ant"]
    env.reset()
    rng = np.random.default_rng(0)
    for step in range(12):
        *_, infos = env.step(rng.uniform(-1, 1, (3, 8)))
        speed = np.hypot(infos["x_velocity"], infos["y_velocity"])
        reset_row = np.full(3, step % 5 == 4)
        np.testing.assert_array_equal(infos["cost"], (speed > 2.6222) & ~reset_row)
    env.close()


@pytest.mark.parametrize(
    ("name", "known"),
    [("HumanoidStandup-v5", False), ("Ant-v4", True), ("ns/VelocityAnt-v0", True), ("Antarctica-v0", False)],
)
def test_robots_are_known_by_the_id(name, known):
    env = RandomCosts(cost=False)
    env.spec = EnvSpec(name, "nowhere:Nothing")
    if known:
        assert spi_wrappers.VelocityCost(env).account.threshold == 2.6222
    else:
        with pytest.raises(ValueError, match=r"VelocityCost knows.*threshold"):
            spi_wrappers.VelocityCost(env)


def test_a_vector_of_copies_is_known_by_the_first():
    def make():
        env = RandomCosts(cost=False)
        env.spec = EnvSpec("Swimmer-v5", "nowhere:Nothing")
        return env

    assert vector.VelocityCost(SyncVectorEnv([make] * 2)).account.threshold == 0.2282


@pytest.mark.parametrize(
    ("kwargs", "error"),
    [
        ({"threshold": -1.0, "axes": "x"}, ValueError),
        ({"threshold": "fast", "axes": "x"}, TypeError),
        ({"threshold": 1.0, "axes": "z"}, ValueError),
        ({"threshold": 1.0}, ValueError),
    ],
)
def test_bad_arguments_are_refused(kwargs, error):
    with pytest.raises(error, match=r"threshold|axes"):
        spi_wrappers.VelocityCost(RandomCosts(cost=False), **kwargs)
