"""Observations as environments hand them out: in arrays that they reuse, in wide integers, and nested."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnvWrapper, VecNormalize
from tiny_models import SMALL, tiny_tdmpc2
from toy_envs import MIXED, VECTOR, ToyEnv

from spi_plugins import PPO, TDMPC2, DeepSPI, PlannerPolicy
from spi_plugins.algorithms.observations import to_batch
from spi_plugins.algorithms.stepping import advance
from spi_plugins.algorithms.vec_envs import as_vec_env
from spi_plugins.spaces import to_device

COUNT = spaces.Box(0, 10, (1,), np.float32)


class Counter(gym.Env):
    """Counts its steps to 3, in one array that it hands out again and again, within a container or not."""

    action_space = spaces.Discrete(2)

    def __init__(self, kind="array"):
        self.now = np.zeros(1, np.float32)
        self.kind = kind
        nested = {"in": spaces.Dict({"count": COUNT})}
        self.observation_space = {
            "array": COUNT,
            "nested": spaces.Dict(nested),
            "tuple": spaces.Tuple([COUNT, spaces.Dict(nested)]),
        }[kind]

    def _obs(self):
        nested = {"in": {"count": self.now}}
        return {"array": self.now, "nested": nested, "tuple": (self.now, nested)}[self.kind]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.now[:] = 0
        return self._obs(), {}

    def step(self, action):
        self.now += 1
        return self._obs(), 1.0, False, bool(self.now[0] == 3), {}


class OneArray(VecEnvWrapper):
    """Returns the same arrays from every step."""

    def reset(self):
        self.obs, self.rewards = self.venv.reset().copy(), np.zeros(self.num_envs, np.float32)
        return self.obs

    def step_wait(self):
        self.obs[:], self.rewards[:], dones, infos = self.venv.step_wait()
        return self.obs, self.rewards, dones, infos


def vector(mode, **kwargs):
    return lambda: SyncVectorEnv([Counter] * 2, autoreset_mode=mode, **kwargs)


VECTORS = {
    "one": Counter,
    "monitored": lambda: Monitor(Counter()),
    "a DummyVecEnv": lambda: DummyVecEnv([Counter, Counter]),
    "in a wrapper": lambda: VecNormalize(DummyVecEnv([Counter]), norm_obs=False, norm_reward=False),
    **{mode.value: vector(mode) for mode in AutoresetMode},
    **{f"{mode.value}, not copied": vector(mode, copy=False) for mode in AutoresetMode},
}


@pytest.mark.parametrize("kind", VECTORS)
def test_the_last_observation_survives_a_reset_of_its_array(kind):
    env = as_vec_env(VECTORS[kind]())
    seen = [env.reset()]
    for step in range(1, 7):
        obs, _, done, infos = env.step(np.zeros(env.num_envs, int))
        seen.append(obs)
        assert done.all() == (step % 3 == 0)
        for info in infos:
            assert ("terminal_observation" in info) == done.all()
            assert info.get("terminal_observation", [3]) == [3]
    np.testing.assert_array_equal([obs[0, 0] for obs in seen], [0, 1, 2, 0, 1, 2, 0])


@pytest.mark.parametrize("kind", ["nested", "tuple"])
@pytest.mark.parametrize("mode", [None, *AutoresetMode])
def test_nested_observations_are_flat_and_complete(kind, mode):
    env = Counter(kind)
    env = as_vec_env(env if mode is None else SyncVectorEnv([lambda: env], autoreset_mode=mode))
    keys = {"nested": ["in/count"], "tuple": ["0", "1/in/count"]}[kind]
    assert sorted(env.observation_space.spaces) == keys
    first, ends = env.reset(), []
    for _ in range(3):
        obs, _, _, infos = env.step(np.zeros(1, int))
        ends.append(infos[0].get("terminal_observation"))
    for key in keys:
        assert (first[key], obs[key], ends[2][key]) == (0, 0, 3)


def test_a_vec_env_of_tuples_is_flat():
    env = as_vec_env(DummyVecEnv([lambda: ToyEnv(spaces.Tuple([VECTOR, COUNT]))]))
    assert list(env.observation_space.spaces) == ["0", "1"]
    assert env.reset()["0"].shape == (1, 3)
    for _ in range(5):
        _, _, done, infos = env.step(np.zeros(1, int))
    assert done.all()
    assert infos[0]["terminal_observation"]["1"].shape == (1,)


def test_a_vec_env_of_nested_observations_is_refused():
    nested = spaces.Tuple([VECTOR, spaces.Dict({"a": COUNT})])
    vec_env = DummyVecEnv([ToyEnv])
    vec_env.observation_space = nested
    with pytest.raises(ValueError, match=r"of a VecEnv is nested\. Give the environment or"):
        as_vec_env(vec_env)


def test_a_step_keeps_no_array_of_the_environment():
    env = OneArray(DummyVecEnv([Counter]))
    env.reset()
    steps = [advance(env, np.zeros(1, int)) for _ in range(4)]
    assert [float(step.next_obs[0, 0]) for step in steps] == [1, 2, 0, 1]
    assert not any(step.reward is env.rewards or step.raw_obs is env.obs for step in steps)


def test_a_world_model_learns_the_last_observation():
    model = DeepSPI(
        "MlpPolicy", Counter(), transition_density="deterministic", **{**SMALL, "n_steps": 6, "batch_size": 3}
    ).learn(6)
    final = model._collector._host.final_obs
    np.testing.assert_array_equal(final[:, 0, 0], [1, 2, 3, 1, 2, 3])


WIDE = spaces.Box(0, 2**40, (1,), np.int64)


@pytest.mark.parametrize(
    ("space", "value", "device"),
    [
        (WIDE, 2**33 + 5, np.float32(2**33)),
        (spaces.Box(0, 2**63, (1,), np.uint64), 2**62, np.float32(2**62)),
        (spaces.Box(-5, 5, (1,), np.int64), -5, np.int32(-5)),
        (spaces.Box(0, 1, (1,), bool), True, np.bool_(True)),
        (spaces.Discrete(3, start=-4), -3, np.int32(1)),
        (spaces.MultiDiscrete([[2, 3]], start=[[1, -1]]), [[2, -1]], np.array([[1, 0]], np.int32)),
    ],
)
def test_numbers_reach_the_device_as_they_are(space, value, device):
    array = np.full(space.shape, value, space.dtype)
    for got in (to_device(space, array), to_batch(space, array)[0][0]):
        np.testing.assert_array_equal(got, np.broadcast_to(device, space.shape))
        assert got.dtype == device.dtype


@pytest.mark.parametrize(
    ("space", "value", "message"),
    [
        (
            spaces.Box(0, 10, (1,), np.int64),
            2**33,
            "observation holds 8589934592, which is not a value of int32",
        ),
        (spaces.Box(0, 255, (1,), np.uint8), 300, "observation holds 300, which is not a value of uint8"),
        (spaces.Box(0, 255, (1,), np.uint8), 0.5, "observation holds 0.5, which is not a value of uint8"),
        (COUNT, 1e39, r"observation of environment 0 is not finite: \[inf\]"),
        (spaces.Discrete(3, start=2), 5, r"observation must be in Discrete\(3, start=2\), got \[5\]"),
    ],
)
def test_numbers_that_would_change_on_the_device_are_refused(space, value, message):
    with pytest.raises(ValueError, match=message):
        to_batch(space, np.full(space.shape, value))


IMAGES = {
    "gray image": spaces.Box(0, 255, (12, 14), np.uint8),
    "stack of images": spaces.Box(0, 255, (2, 12, 14, 3), np.uint8),
    "float image": spaces.Box(0, 1, (12, 14, 3), np.float64),
}
OTHERS = {
    **IMAGES,
    "wide integers": WIDE,
    "bools": spaces.Box(0, 1, (3,), bool),
    "discrete from 3": spaces.Discrete(4, start=3),
    "nested": spaces.Dict({"a": MIXED, "b": spaces.Dict({"c": spaces.Discrete(3, start=1)}), "d": WIDE}),
    "tuple": spaces.Tuple([VECTOR, spaces.MultiDiscrete([[2, 3]], start=[[1, 0]])]),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_observations_of_every_space_train_save_and_load(kind, tmp_path):
    space = OTHERS[kind]
    policy = "CnnPolicy" if kind in IMAGES else "MlpPolicy"
    if isinstance(space, spaces.Dict | spaces.Tuple):
        policy = "MultiInputPolicy"
    layers = {"conv_layers": ((4, 4, 2),), "net_arch": [8], "image_features": 4}
    model = PPO(policy, ToyEnv(space), **{**SMALL, "policy_kwargs": layers}).learn(4)
    model.save(tmp_path / "model")
    loaded = PPO.load(tmp_path / "model", env=ToyEnv(space))
    for _ in range(3):
        obs = space.sample()
        assert model.predict(obs, deterministic=True)[0] == loaded.predict(obs, deterministic=True)[0]
    loaded.learn(4)


def test_an_algorithm_that_plans_says_which_images_it_reads():
    env = ToyEnv(IMAGES["gray image"], spaces.Box(-1, 1, (1,)))
    with pytest.raises(ValueError, match=r"algorithm that plans reads images \(uint8.*got box.*\(12, 14\)"):
        TDMPC2("CnnPolicy", env)


@pytest.mark.parametrize(
    "part",
    [spaces.Text(3), spaces.Sequence(VECTOR), spaces.Graph(VECTOR, None), spaces.OneOf([VECTOR, COUNT])],
)
def test_spaces_that_are_not_arrays_are_refused_with_their_key(part):
    space = spaces.Dict({"good": VECTOR, "outer": spaces.Tuple([VECTOR, part])})
    with pytest.raises(
        ValueError, match=r"The observation space at 'outer/1', .*, is not supported\. Allowed: Box"
    ):
        PPO("MultiInputPolicy", ToyEnv(space))


def test_two_parts_of_one_name_are_refused():
    space = spaces.Dict({"a/b": VECTOR, "a": spaces.Dict({"b": VECTOR})})
    with pytest.raises(ValueError, match="Two parts of the observation space are named 'a/b'"):
        as_vec_env(ToyEnv(space))


@pytest.mark.slow
def test_agents_and_planners_act_in_a_float64_box_with_a_fixed_number():
    actions = spaces.Box(np.array([-0.1, 1.0]), np.array([0.3, 1.0]), dtype=np.float64)
    model = tiny_tdmpc2(ToyEnv(spaces.Discrete(4, start=3), actions)).learn(12)  # ToyEnv insists on the space
    planner = PlannerPolicy(model.world_model, "cem", num_samples=8, num_elites=3, iterations=2)
    assert (planner.observation_space, planner.action_space) == (model.observation_space, model.action_space)
    for policy in (model, planner):
        for deterministic in (True, False):
            decided, _ = policy.predict(np.array([3, 6]), deterministic=deterministic)
            assert decided.dtype == np.float64
            assert all(actions.contains(action) for action in decided)
