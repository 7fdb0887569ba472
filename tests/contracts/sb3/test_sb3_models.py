"""What users of Stable-Baselines3 expect of a model: prediction, spaces, saving and loading."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from sb3_contract import ALGORITHMS, Countdown, build
from stable_baselines3.common.base_class import BaseAlgorithm

IMAGE = spaces.Box(0, 255, (36, 36, 3), np.uint8)
PARTS = spaces.Dict(
    {"image": IMAGE, "vector": spaces.Box(-1, 1, (2,), np.float32), "mode": spaces.Discrete(3)}
)
ACTIONS = [
    spaces.Discrete(3),
    spaces.MultiDiscrete([2, 3]),
    spaces.MultiBinary(3),
    spaces.Box(-2, 1, (2,), np.float32),
]
OBSERVATIONS = [
    ("MlpPolicy", spaces.Discrete(4)),
    ("MlpPolicy", spaces.MultiDiscrete([3, 4])),
    ("MlpPolicy", spaces.MultiBinary(4)),
    ("MlpPolicy", spaces.Box(-1, 1, (2, 3), np.float32)),
    ("CnnPolicy", IMAGE),
    ("MultiInputPolicy", PARTS),
]


def test_a_model_is_one_of_sb3s(name, trained):
    model = trained(name)
    assert isinstance(model, BaseAlgorithm)
    assert model.observation_space == Countdown().observation_space
    assert model.action_space == Countdown().action_space
    assert model.policy.observation_space == model.observation_space


def test_predict_takes_one_observation_or_a_batch(name, trained):
    model = trained(name)
    one, state = model.predict(np.zeros(3, np.float32))
    assert one.shape == (2,)
    assert model.action_space.contains(one)
    batch, _ = model.predict(np.zeros((5, 3)), deterministic=True)
    assert batch.shape == (5, 2)
    again, _ = model.predict(one_more := np.zeros((1, 3), np.float32), state=None, deterministic=True)
    np.testing.assert_array_equal(again, model.predict(one_more, deterministic=True)[0])
    assert state is None or name == "tdmpc2"


@pytest.mark.parametrize("wrong", [np.zeros(4), np.zeros((2, 2, 3)), np.full(3, np.nan), {"a": np.zeros(3)}])
def test_predict_refuses_what_is_not_an_observation(name, trained, wrong):
    with pytest.raises(ValueError, match="observation"):
        trained(name).predict(wrong)


def test_predict_says_that_a_tuple_came(name, trained):
    env = Countdown()
    with pytest.raises(ValueError, match="tuple of 2"):
        trained(name).predict(env.reset())
    with pytest.raises(ValueError, match="tuple of 5"):
        trained(name).predict(env.step(env.action_space.sample()))
    with pytest.raises(ValueError, match="empty batch"):
        trained(name).predict(np.zeros((0, 3)))


@pytest.mark.parametrize("space", ACTIONS, ids=repr)
def test_action_spaces(space):
    model = build("ppo", Countdown(action_space=space)).learn(8)
    obs = model.observation_space.sample()
    assert space.contains(model.predict(obs)[0])
    assert model.predict(np.stack([obs, obs]))[0].shape == (2, *space.shape)


@pytest.mark.parametrize(
    ("algorithm", "policy", "space"),
    [*(("ppo", *each) for each in OBSERVATIONS), *(("deep_spi", *each) for each in OBSERVATIONS[-2:])],
    ids=lambda value: str(value)[:20],
)
def test_observation_spaces(algorithm, policy, space):
    model = build(algorithm, Countdown(space), policy).learn(8)
    assert model.action_space.contains(model.predict(space.sample(), deterministic=True)[0])


@pytest.mark.parametrize(
    "space",
    [spaces.Text(3), spaces.Sequence(spaces.Discrete(2)), spaces.Box(-np.inf, np.inf, (2,), np.float32)],
    ids=repr,
)
def test_action_spaces_that_are_not_supported_are_refused(name, space):
    with pytest.raises((ValueError, AssertionError), match=r"(?i)action"):
        build(name, Countdown(action_space=space))


def test_a_policy_that_does_not_fit_the_observations_is_refused():
    with pytest.raises(ValueError, match="MultiInputPolicy"):
        build("ppo", Countdown(PARTS))
    with pytest.raises(ValueError, match="MlpPolicy"):
        build("ppo", policy="CnnPolicy")
    with pytest.raises(ValueError, match="MlpPolicy"):
        build("ppo", policy="MplPolicy")


def test_a_saved_model_predicts_and_trains_on(name, trained, tmp_path):
    model, obs = trained(name), np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
    model.save(tmp_path / "model")
    loaded = ALGORITHMS[name].load(str(tmp_path / "model"))
    assert loaded.num_timesteps == model.num_timesteps
    np.testing.assert_array_equal(
        loaded.predict(obs, deterministic=True)[0], model.predict(obs, deterministic=True)[0]
    )
    with pytest.raises(ValueError, match="set_env"):
        loaded.learn(8)
    loaded.set_env(Countdown())
    assert loaded.learn(8, reset_num_timesteps=False).num_timesteps == model.num_timesteps + 8
    with (tmp_path / "open").open("wb") as file:
        model.save(file)
    with (tmp_path / "open").open("rb") as file:
        assert ALGORITHMS[name].load(file, env=Countdown()).get_env() is not None


def test_parameters_can_be_read_and_set(name, trained):
    source, other = trained(name).get_parameters(), build(name, seed=9)
    other.set_parameters(source)
    for group, arrays in other.get_parameters().items():
        for key, value in arrays.items():
            np.testing.assert_array_equal(value, source[group][key], err_msg=f"{group}/{key}")


def test_arguments_may_be_changed_when_a_model_is_loaded(tmp_path):
    build("ppo").save(tmp_path / "model")
    loaded = ALGORITHMS["ppo"].load(tmp_path / "model", env=Countdown(), learning_rate=0.5, gamma=0.5)
    assert loaded.gamma == 0.5
    assert loaded.learning_rate == 0.5


def test_a_file_that_is_missing_is_named(name, tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        ALGORITHMS[name].load(tmp_path / "nothing.zip")


def test_a_cartpole_model_learns_from_an_id_in_several_copies():
    model = build("ppo", "CartPole-v1", n_envs=2).learn(32)
    assert (model.n_envs, model.num_timesteps) == (2, 32)
    assert isinstance(model.get_env().envs[0], gym.Wrapper)
