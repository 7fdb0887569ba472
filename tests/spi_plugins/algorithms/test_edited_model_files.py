"""Model and replay files that were edited: one error that names the file and what is wrong, before memory is taken."""

import json
import re
import time
import zipfile

import numpy as np
import pytest
from edited_files import edit, leaves, replace
from tiny_models import CARTPOLE, tiny_deep_spi, tiny_ppo, tiny_tdmpc2

from spi_plugins import PPO, TDMPC2, DeepSPI
from spi_plugins.errors import ModelFileError


@pytest.fixture(scope="module")
def trained():
    return tiny_deep_spi().learn(24)


@pytest.fixture
def path(trained, tmp_path):
    trained.save(tmp_path / "model.zip")
    return tmp_path / "model.zip"


@pytest.fixture(scope="module")
def remembering():
    return tiny_tdmpc2().learn(24)


@pytest.fixture
def replay(remembering, tmp_path):
    remembering.save_replay_buffer(tmp_path / "replay.npz")
    return tmp_path / "replay.npz"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["arguments"]["policy_kwargs"].update(net_arch=[10**7, 10**7]), "has shape"),
        (lambda d: d["observation_space"].update(shape=[10**9]), "a space of 4000000000 bytes"),
        (lambda d: d["action_space"].update(n=10**9), "takes 32000000280 bytes"),
        (lambda d: d.update(n_envs=0), "n_envs must be"),
        (lambda d: d.update(n_envs=10**9), "n_envs must be"),
        (lambda d: d.update(stats_window_size=10**30), "stats_window_size must be"),
        (lambda d: d["counters"].update(num_timesteps="many"), "expected a number, got 'many'"),
        (lambda d: d["counters"].update(_n_updates=float("nan")), "expected a number, got nan"),
        (lambda d: d.update(ep_info_buffer=[{"r": "x", "l": 1}]), "expected a number, got 'x'"),
        (lambda d: d["arguments"].update(gamma=2), "gamma must be"),
    ],
)
def test_numbers_that_do_not_fit_are_refused_at_once(path, change, message):
    edit(path, data=change)
    start = time.monotonic()
    with pytest.raises(ModelFileError, match=message) as caught:
        DeepSPI.load(path)
    assert time.monotonic() - start < 20
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("value", [None, "x", -1, 10**30, [], {}, float("nan")])
def test_garbled_values_raise_the_documented_error_or_none(path, value):
    with zipfile.ZipFile(path) as archive:
        paths = list(leaves(json.loads(archive.read("data"))))
    content = path.read_bytes()
    rng = np.random.default_rng(len(str(value)))
    for place in rng.choice(len(paths), size=3, replace=False):
        path.write_bytes(content)
        edit(path, data=lambda d, keys=paths[place]: replace(d, keys, value))
        try:
            DeepSPI.load(path)
        except ModelFileError as error:
            if str(path) not in str(error):
                raise


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e300])
def test_weights_that_are_not_finite_are_refused_by_name(trained, path, number):
    name = "parameters/world_model/reward/0/kernel"

    def spoil(arrays):
        nonlocal name
        name = next(key for key in arrays if key.startswith("parameters/world_model/"))
        arrays[name] = np.full(arrays[name].shape, number)

    edit(path, arrays=spoil)
    message = (
        rf"model\.zip: The parameters of 'world_model' .*{re.escape(name.split('/', 2)[2])} holds NaN or"
    )
    for load in (DeepSPI.load, tiny_deep_spi().set_parameters):
        with pytest.raises(ModelFileError, match=message):
            load(path)


def test_weights_that_are_not_finite_are_not_saved_over_a_good_file(path):
    model = tiny_ppo()
    model.save(path)
    before = path.read_bytes()
    params = model._agent_state.params
    params["policy"]["critic"]["bias"] += np.nan
    with pytest.raises(ValueError, match="parameters/policy/critic/bias holds NaN or infinity"):
        model.save(path)
    assert path.read_bytes() == before
    PPO.load(path)


def test_a_state_of_an_environment_that_is_garbled_names_the_file(path):
    def spoil(arrays):
        for name in arrays:
            if name.startswith("env/"):
                arrays[name] = np.full(arrays[name].shape, "x")

    edit(path, arrays=spoil)
    with pytest.raises(ModelFileError, match=r"model\.zip: The environment's arrays .* expected numbers"):
        DeepSPI.load(path, env=CARTPOLE)


def test_what_the_caller_gets_wrong_is_not_blamed_on_the_file(path):
    with pytest.raises(ValueError, match="gamma must be"):
        DeepSPI.load(path, gamma=2)
    with pytest.raises(ValueError, match="device='tpu9' is not available"):
        DeepSPI.load(path, device="tpu9")


def test_networks_and_buffers_beyond_the_memory_are_refused_before_they_are_made():
    with pytest.raises(ValueError, match=r"take \d+ bytes, more than the memory of .*policy_kwargs"):
        tiny_ppo(policy_kwargs={"net_arch": [10**6, 10**6]})
    with pytest.raises(ValueError, match=r"buffer_size=1000000000000 takes \d+ bytes.*buffer_device='host'"):
        tiny_tdmpc2(buffer_size=10**12, buffer_device="device").learn(8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arrays": lambda a: a["buffer/slots/reward"].fill(np.nan)}, "slots/reward holds NaN"),
        ({"arrays": lambda a: a["buffer/size"].fill(99)}, "size must be within 0 and 14, got"),
        ({"arrays": lambda a: a["buffer/position"].fill(-1)}, "position must be within 0 and 31, got"),
        ({"arrays": lambda a: a.pop("buffer/slots/obs")}, "missing slots/obs"),
        ({"arrays": lambda a: a.pop("buffer/slots/reward")}, "garbled: KeyError: 'slots/reward'"),
        (
            {"arrays": lambda a: a.update({"buffer/slots/action": np.zeros((2, 14, 9))})},
            "slots/action has shape",
        ),
        ({"data": lambda d: d.pop("capacity")}, "garbled: KeyError: 'capacity'"),
        ({"data": lambda d: d.update(format_version=3)}, "format version 3; this release reads up to 2"),
        ({"data": lambda d: d.update(format="spi-plugins")}, "is not a spi-plugins replay buffer file"),
        ({"leave_out": ["state.npz"]}, r"is damaged.*state\.npz"),
    ],
)
def test_garbled_replay_files_are_refused(replay, changes, message):
    edit(replay, **changes)
    with pytest.raises(ModelFileError, match=message) as caught:
        tiny_tdmpc2().load_replay_buffer(replay)
    assert str(replay) in str(caught.value)


def test_damaged_replay_files_are_refused(replay, remembering):
    content = replay.read_bytes()
    damaged = [content[: len(content) // 2], content[:-1], b"", b"hello"]
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 4
    for spoiled in (*damaged, bytes(flipped)):
        replay.write_bytes(spoiled)
        with pytest.raises(ModelFileError, match=re.escape(str(replay))):
            remembering.load_replay_buffer(replay)
    assert remembering.replay_buffer is not None


def test_a_planners_standing_that_is_garbled_names_the_file(remembering, tmp_path):
    remembering.save(tmp_path / "model.zip")
    edit(tmp_path / "model.zip", arrays=lambda a: a.pop("collector/total_cost"))
    with pytest.raises(ModelFileError, match=r"model\.zip is damaged.*total_cost"):
        TDMPC2.load(tmp_path / "model.zip", env=remembering.env)
