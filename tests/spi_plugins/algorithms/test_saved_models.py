"""save and load: what a file keeps, what may be replaced, and how files of every other kind are refused."""

import base64
import io
import os
import pickle
import warnings

import numpy as np
import pytest
import stable_baselines3
from edited_files import edit
from gymnasium import spaces
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv
from tiny_models import CARTPOLE, SMALL, tiny_deep_spi, tiny_ppo
from toy_envs import CHANNELS_LAST, VECTOR, ToyEnv

from spi_plugins import PPO, DeepSPI
from spi_plugins.algorithms.model_file import FORMAT_VERSION
from spi_plugins.algorithms.policies import MlpPolicy
from spi_plugins.envs.probe import make_dict_rule
from spi_plugins.errors import ModelFileError

BATCH = np.linspace(-1, 1, 80, dtype=np.float32).reshape(20, 4)


@pytest.fixture(scope="module")
def trained():
    return tiny_ppo().learn(24)


@pytest.fixture
def path(trained, tmp_path):
    trained.save(tmp_path / "model.zip")
    return tmp_path / "model.zip"


def test_a_loaded_model_predicts_the_same_without_an_environment(trained, path):
    loaded = PPO.load(path)
    assert loaded.get_env() is None
    for _ in range(2):  # samples too: the count of predictions is kept
        np.testing.assert_array_equal(loaded.predict(BATCH)[0], trained.predict(BATCH)[0])
    with pytest.raises(ValueError, match=r"env is missing.*set_env\(env\)"):
        loaded.learn(8)


def test_arguments_counters_and_statistics_are_kept(trained, path):
    loaded = PPO.load(path, env=CARTPOLE)
    for name in PPO.stored_arguments:
        if name not in ("learning_rate", "policy_kwargs"):
            assert getattr(loaded, name) == getattr(trained, name), name
    assert vars(loaded.learning_rate) == vars(trained.learning_rate)
    assert loaded.policy_kwargs == {"net_arch": [8]}
    assert (loaded.num_timesteps, loaded._n_updates) == (24, trained._n_updates)
    assert list(loaded.ep_info_buffer) == list(trained.ep_info_buffer) != []
    assert loaded.n_envs == 2
    loaded.learn(8, reset_num_timesteps=False)
    assert loaded.num_timesteps == 32


@pytest.mark.parametrize("target", ["model", "model.zip", "other.suffix", "deep/er/model"])
def test_a_path_without_a_suffix_gets_zip_and_folders_are_made(trained, tmp_path, target):
    trained.save(tmp_path / target)
    files = [file.name for file in tmp_path.rglob("*") if file.is_file()]
    assert files == [{"other.suffix": "other.suffix"}.get(target, "model.zip")]
    PPO.load(str(tmp_path / target))


def test_a_model_can_be_kept_in_memory(trained):
    file = io.BytesIO()
    trained.save(file)
    file.seek(0)
    np.testing.assert_array_equal(
        PPO.load(file).predict(BATCH, deterministic=True)[0], trained.predict(BATCH, deterministic=True)[0]
    )


def test_saved_files_have_the_permissions_of_new_files(path, tmp_path):
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_deep_spi_keeps_its_world_model(tmp_path):
    model = tiny_deep_spi(world_model_kwargs={"reward_hidden": (6,), "transition_hidden": [5]})
    model.save(tmp_path / "model")
    loaded = DeepSPI.load(tmp_path / "model", env=CARTPOLE)
    assert loaded.agent.world_model.config == model.agent.world_model.config
    first, second = model.get_parameters(), loaded.get_parameters()
    assert all(np.array_equal(first["world_model"][k], v) for k, v in second["world_model"].items())
    loaded.learn(8)


@pytest.mark.parametrize(
    ("observations", "actions", "policy"),
    [
        (VECTOR, spaces.MultiDiscrete([2, 5], start=[1, -2]), "MlpPolicy"),
        (CHANNELS_LAST, spaces.Discrete(3, start=-1), "CnnPolicy"),
        (spaces.Dict({"a": spaces.Discrete(3), "b": VECTOR}), spaces.MultiBinary(2), "MultiInputPolicy"),
        (spaces.Box(-np.inf, np.inf, (2,), np.float64), spaces.Box(-1, 2, (2,), np.float32), "MlpPolicy"),
    ],
)
def test_spaces_are_kept(tmp_path, observations, actions, policy):
    env = DummyVecEnv([lambda: ToyEnv(observations, actions)])
    kwargs = {"net_arch": [8], "conv_layers": [(2, 4, 2)]}
    PPO(policy, env, **{**SMALL, "policy_kwargs": kwargs}).save(tmp_path / "model")
    loaded = PPO.load(tmp_path / "model")
    assert loaded.observation_space == observations
    assert loaded.action_space == actions
    assert actions.contains(loaded.predict(observations.sample())[0])


def test_another_number_of_copies_is_welcome(trained, path, tmp_path):
    loaded = PPO.load(path, env=CARTPOLE, n_envs=6, batch_size=8)
    assert loaded.learn(24, reset_num_timesteps=False).num_timesteps == 48
    single = DummyVecEnv([lambda: ToyEnv(trained.observation_space, trained.action_space)])
    assert PPO.load(path, env=single).learn(4, reset_num_timesteps=False).num_timesteps == 28
    open_sizes = PPO("MlpPolicy", CARTPOLE, n_envs=4, policy_kwargs={"net_arch": [8]})
    assert (open_sizes.n_steps, open_sizes.batch_size) == (512, 64)
    open_sizes.save(tmp_path / "open")
    loaded = PPO.load(tmp_path / "open", env=CARTPOLE, n_envs=64)
    assert (loaded.n_steps, loaded.batch_size) == (32, 64)


def test_arguments_can_be_replaced(path):
    loaded = PPO.load(
        path, learning_rate=0.5, gamma=0.5, custom_objects={"ent_coef": 0.25, "lr_schedule": None}
    )
    assert (loaded.learning_rate, loaded.gamma, loaded.ent_coef) == (0.5, 0.5, 0.25)
    with pytest.raises(TypeError, match="gama"):
        PPO.load(path, gama=0.5)
    with pytest.raises(ModelFileError, match="has shape"):
        PPO.load(path, policy_kwargs={"net_arch": [9]})


def test_schedules_are_kept_but_for_custom_functions_which_stay_where_they_are(tmp_path):
    schedules = {"learning_rate": LinearSchedule(0.2, 0.1, 0.5), "clip_range": lambda remaining: remaining}
    model = tiny_ppo(**schedules).learn(8)
    model._current_progress_remaining = 0.75
    with pytest.warns(UserWarning, match=r"keep the present value: clip_range=0\.75\. .*LinearSchedule"):
        model.save(tmp_path / "model")
    model.save(tmp_path / "model")  # says so once
    with pytest.warns(
        UserWarning, match=r"clip_range was a custom function.*stays at 0.75.*clip_range=.*load"
    ):
        loaded = PPO.load(tmp_path / "model")
    assert loaded.clip_range == 0.75
    assert vars(loaded.learning_rate) == vars(schedules["learning_rate"])
    for how in ({"clip_range": 0.3}, {"custom_objects": {"clip_range": 0.3}}):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert PPO.load(tmp_path / "model", **how).clip_range == 0.3


class NarrowPolicy(MlpPolicy):
    default_net_arch = (3,)


def test_a_policy_of_ones_own_is_named_at_load(tmp_path):
    PPO(NarrowPolicy, CARTPOLE, n_envs=2).save(tmp_path / "model")
    with pytest.raises(
        ModelFileError, match=r"used the policy class .*:NarrowPolicy; pass it as load\(..., policy"
    ):
        PPO.load(tmp_path / "model")
    for how in ({"policy": NarrowPolicy}, {"custom_objects": {"policy_class": NarrowPolicy}}):
        loaded = PPO.load(tmp_path / "model", **how)
        assert loaded.get_parameters()["policy"]["actor/dense/kernel"].shape == (3, 2)


class Bomb:
    """Unpickling one creates a file."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_pickles_in_a_file_are_never_executed(trained, path, tmp_path):
    armed = pickle.dumps(Bomb(tmp_path / "boom"))
    pickle.loads(pickle.dumps(Bomb(tmp_path / "proof")))
    assert (tmp_path / "proof").exists()  # the bomb works
    edit(path, entries={"policy.pth": armed, "pytorch_variables.pth": armed, "extra.pkl": armed})
    PPO.load(path)  # entries that are none of ours are not even read
    objects = io.BytesIO()
    np.savez(objects, **{"run/key": np.array([Bomb(tmp_path / "boom")], dtype=object)})
    for name, content in (("data", armed), ("state.npz", armed), ("state.npz", objects.getvalue())):
        edit(path, entries={name: content})
        with pytest.raises(ModelFileError, match="is damaged or not a model file"):
            PPO.load(path)
        trained.save(path)
    # SB3 would unpickle this value of its JSON.
    bomb = {":type:": "<class 'Bomb'>", ":serialized:": base64.b64encode(armed).decode()}
    edit(path, data=lambda d: d["arguments"].update(policy_kwargs=bomb))
    with pytest.raises(ModelFileError, match=r"model\.zip is damaged.*policy_kwargs has unknown keys"):
        PPO.load(path)
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize("size", [0, 1, 100, 0.5, 0.99])
def test_a_truncated_file_is_refused(path, size):
    content = path.read_bytes()
    path.write_bytes(content[: int(size * len(content)) if isinstance(size, float) else size])
    with pytest.raises(ModelFileError, match=r"model\.zip is (damaged or not a|not a spi-plugins) model"):
        PPO.load(path)


def test_a_flipped_byte_is_noticed(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="is damaged"):
        PPO.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"leave_out": ["data"]}, "is not a spi-plugins model"),
        ({"leave_out": ["state.npz"]}, r"is damaged.*state\.npz"),
        ({"data": lambda d: d.update(format="other")}, "is not a spi-plugins model"),
        (
            {"data": lambda d: d.update(format_version=FORMAT_VERSION + 1)},
            "format version 2; this release reads up",
        ),
        ({"data": lambda d: d.pop("format_version")}, "is damaged.*format_version"),
        ({"data": lambda d: d.update(algorithm="SAC")}, "holds a SAC model"),
        ({"data": lambda d: d.pop("arguments")}, "garbled: KeyError: 'arguments'"),
        ({"data": lambda d: d.update(arguments=[1])}, "garbled: TypeError"),
        ({"data": lambda d: d["counters"].pop("num_timesteps")}, "garbled: KeyError"),
        ({"data": lambda d: d["action_space"].update(type="Tree")}, "unknown type 'Tree'"),
        ({"data": lambda d: d["observation_space"].update(shape="x")}, "garbled"),
        (
            {"data": lambda d: d.update(policy="os:system")},
            r"used the policy class os:system; pass it as load",
        ),
    ],
)
def test_garbled_descriptions_are_refused(path, change, message):
    edit(path, **change)
    with pytest.raises(ModelFileError, match=message):
        PPO.load(path)


def test_files_of_other_kinds_are_refused(tmp_path, trained, path):
    (tmp_path / "text.zip").write_text("hello")
    with pytest.raises(ModelFileError, match=r"text\.zip is damaged or not a model file: BadZipFile"):
        PPO.load(tmp_path / "text")
    stable_baselines3.PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8).save(tmp_path / "sb3")
    with pytest.raises(ModelFileError, match=r"not a spi-plugins model.*policy\.pth.*stable-baselines3"):
        PPO.load(tmp_path / "sb3")
    with pytest.raises(ModelFileError, match="holds a PPO model; load it with that class, not DeepSPI"):
        DeepSPI.load(path)
    with pytest.raises(FileNotFoundError, match=r"no model file .*nothing\.zip"):
        PPO.load(tmp_path / "nothing")
    with pytest.raises(ModelFileError, match="is not a spi-plugins model"):
        trained.set_parameters(tmp_path / "sb3")


def test_an_environment_with_other_spaces_is_refused(path):
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        PPO.load(path, env=make_dict_rule())
    with pytest.raises(ValueError, match="Action spaces do not match"):
        PPO.load(
            path, env=DummyVecEnv([lambda: ToyEnv(PPO.load(path).observation_space, spaces.Discrete(5))])
        )


def test_an_argument_that_came_after_the_file_has_its_default(path):
    edit(path, data=lambda d: d["arguments"].pop("gae_lambda"))
    assert PPO.load(path).gae_lambda == 0.95
