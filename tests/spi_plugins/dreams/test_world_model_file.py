import json
import pathlib
import zipfile

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from edited_files import edit, leaves, replace
from tiny_models import tiny_deep_spi, tiny_ppo, tiny_spowl, tiny_tdmpc2
from tiny_worlds import tiny_world

import spi_plugins
from spi_plugins.dreams.file import MAX_STARTS
from spi_plugins.errors import ModelFileError
from spi_wrappers import DreamEnv

FORMAT_1 = pathlib.Path(__file__).parents[2] / "data" / "format_1"


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "world.zip"
    tiny_world().save(file)
    return file


def test_what_is_saved_is_loaded(path):
    stored, loaded = tiny_world(), spi_plugins.load_world_model(path)
    for name in ("kind", "observation_space", "action_space", "latent_low", "latent_high", "decoded_space"):
        assert getattr(loaded, name) == getattr(stored, name)
    assert loaded.statistics == stored.statistics
    for mine, theirs in zip(
        jax.tree.leaves(loaded.fitted.params), jax.tree.leaves(stored.fitted.params), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(loaded.starts, stored.starts)
    np.testing.assert_array_equal(loaded.first, stored.first)


def test_the_suffix_is_appended_and_folders_are_made(tmp_path):
    tiny_world().save(tmp_path / "new" / "world")
    assert (tmp_path / "new" / "world.zip").is_file()
    spi_plugins.load_world_model(tmp_path / "new" / "world")


def test_loading_twice_gives_one_model_until_the_file_changes(path):
    first = spi_plugins.load_world_model(path)
    assert spi_plugins.load_world_model(path) is first
    tiny_world(seed=1).save(path)
    assert not np.array_equal(spi_plugins.load_world_model(path).starts, first.starts)


def test_nothing_in_the_file_is_a_pickle(path):
    with zipfile.ZipFile(path) as archive:
        assert sorted(archive.namelist()) == ["data", "state.npz"]
        with archive.open("state.npz") as file:
            assert all(array.dtype != object for array in np.load(file, allow_pickle=False).values())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("world_ensemble", "ensemble"),
        ("world_deep_spi", "deep_mdp"),
        ("world_dream_spi", "deep_mdp"),
        ("world_spowl", "tdmpc"),
    ],
)
def test_a_file_of_version_1_is_of_the_kind_by_its_present_name(name, kind):
    assert spi_plugins.load_world_model(FORMAT_1 / name).kind == kind


def test_a_file_keeps_few_starts_and_the_first_ones_of_episodes():
    stored = tiny_world(n=3 * MAX_STARTS)
    assert MAX_STARTS <= len(stored.starts) <= MAX_STARTS + 4
    assert stored.first.sum() == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.update(format="other"), "is not a spi-plugins world model"),
        (lambda data: data.update(format_version=99), "has format version 99"),
        (lambda data: data.update(kind="crystal_ball"), "world model of the kind 'crystal_ball'"),
        (lambda data: data.pop("settings"), "incomplete or garbled: KeyError: 'settings'"),
        (lambda data: data["settings"].update(hidden=[9]), "do not fit this model"),
        (lambda data: data["settings"].update(depth=3), "garbled: TypeError"),
        (lambda data: data["observation_space"].update(type="Torus"), "unknown type 'Torus'"),
    ],
)
def test_a_damaged_description_is_an_error_that_says_where(path, change, message):
    edit(path, data=change)
    with pytest.raises(ModelFileError, match=message):
        spi_plugins.load_world_model(path)


def test_a_file_that_is_cut_off_or_missing_is_an_error(path, tmp_path):
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ModelFileError, match="is damaged or not a world model file"):
        spi_plugins.load_world_model(path)
    with pytest.raises(FileNotFoundError, match="There is no world model file"):
        spi_plugins.load_world_model(tmp_path / "nothing.zip")


def test_a_trained_model_is_no_world_model_and_the_other_way_round(path, tmp_path):
    tiny_ppo().save(tmp_path / "ppo.zip")
    with pytest.raises(ModelFileError, match="with its class"):
        spi_plugins.load_world_model(tmp_path / "ppo.zip")
    with pytest.raises(ModelFileError, match=r"spi_plugins\.load_world_model"):
        spi_plugins.PPO.load(path)


@pytest.mark.parametrize("make", [tiny_deep_spi, tiny_tdmpc2, tiny_spowl])
def test_agents_save_their_worlds(make, tmp_path):
    model = make(**({"termination_model": True} if make is tiny_deep_spi else {})).learn(16)
    model.save_world_model(tmp_path / "world")
    loaded = spi_plugins.load_world_model(tmp_path / "world")
    assert loaded.report["policy"] == type(model).__name__
    assert loaded.report["n_steps"] == 16
    assert loaded.fitted.model.spec.has_termination == (make is tiny_deep_spi)
    env = DreamEnv(tmp_path / "world", horizon=3)
    obs, _ = env.reset(seed=0)
    assert obs in env.observation_space
    env.action_space.seed(0)
    for _ in range(3):
        obs, _, terminated, _, info = env.step(env.action_space.sample())
        if terminated:
            break
    assert obs in env.observation_space
    assert info["cost"] >= 0.0


def test_the_world_of_deep_spi_is_the_agents(tmp_path):
    model = tiny_deep_spi().learn(8)
    observations = np.random.default_rng(0).uniform(-0.05, 0.05, size=(5, 4)).astype(np.float32)
    model.save_world_model(tmp_path / "world", observations)
    loaded = spi_plugins.load_world_model(tmp_path / "world")
    params, policy = model._agent_state.params, model.agent.policy
    z = policy.latent(params["policy"], policy.features(params["policy"], jnp.asarray(observations)))
    np.testing.assert_allclose(loaded.starts, z, rtol=1e-6)
    action, key = jnp.array([0, 1, 1, 0, 1]), jax.random.key(3)
    step = loaded.fitted.model.step(loaded.fitted.params, z, action, key)
    expected = model.agent.world_model.predict(params["world_model"], z, action, key)
    np.testing.assert_allclose(step.next_z, expected, rtol=1e-5, atol=1e-6)


def test_a_world_that_is_not_there_or_has_seen_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="This PPO has no world model to save"):
        tiny_ppo().save_world_model(tmp_path / "world")
    with pytest.raises(ValueError, match=r"call learn\(\) first, or pass observations="):
        tiny_deep_spi().save_world_model(tmp_path / "world")
    with pytest.raises(ValueError, match="There is no replay buffer for dreams to begin in"):
        tiny_tdmpc2().save_world_model(tmp_path / "world")
    with pytest.raises(ValueError, match="observations must be a batch"):
        tiny_deep_spi().save_world_model(tmp_path / "world", np.zeros(4, np.float32))
    with pytest.raises(ValueError, match=r"observation must have shape \(4,\)"):
        tiny_deep_spi().save_world_model(tmp_path / "world", np.zeros((2, 3), np.float32))


def test_planners_take_a_stored_world(tmp_path):
    model = tiny_spowl().learn(16)
    model.save_world_model(tmp_path / "world")
    loaded = spi_plugins.load_world_model(tmp_path / "world")
    policy = spi_plugins.PlannerPolicy(loaded.fitted, "cem", num_samples=8, num_elites=2, horizon=2)
    action, _ = policy.predict(np.zeros(loaded.observation_space.shape, np.float32))
    assert action in loaded.action_space
    discrete = tiny_world()
    policy = spi_plugins.PlannerPolicy(discrete.fitted, "cem", num_samples=8, num_elites=2, horizon=2)
    action, _ = policy.predict(np.zeros(discrete.observation_space.shape, np.float32))
    assert action in discrete.action_space
    with pytest.raises(ValueError, match="'icem' needs a model of actions in a Box"):
        spi_plugins.PlannerPolicy(discrete.fitted, "icem")


def test_gymnasium_is_not_needed_to_be_told_the_model_twice(path):
    env = gymnasium.make("spi/Dream-v0", model=str(path))
    assert env.spec.kwargs == {"model": str(path)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arrays": lambda a: a["starts"].fill(np.nan)}, "not finite"),
        ({"arrays": lambda a: a.update(starts=a["starts"][:0], first=a["first"][:0])}, "no start states"),
        ({"data": lambda d: d.update(latent_low=float("nan"))}, "not finite"),
        ({"data": lambda d: d["settings"].update(hidden=[10**6, 10**6])}, "do not fit this model"),
        ({"data": lambda d: d["observation_space"].update(shape=[10**9])}, "a space of 4000000000 bytes"),
        ({"data": lambda d: d["decoded_space"].update(shape=[10**9])}, "a space of 4000000000 bytes"),
        (
            {
                "data": lambda d: d.update(
                    action_space={"type": "Discrete", "n": -1, "start": 0, "dtype": "int64"}
                )
            },
            "garbled",
        ),
    ],
)
def test_numbers_that_do_not_fit_are_refused(path, changes, message):
    edit(path, **changes)
    with pytest.raises(ModelFileError, match=message) as caught:
        spi_plugins.load_world_model(path)
    assert str(path) in str(caught.value)


def test_weights_that_are_not_finite_are_neither_saved_nor_loaded(path):
    stored = tiny_world()
    fitted = stored.fitted._replace(params=jax.tree.map(lambda x: x * jnp.nan, stored.fitted.params))
    with pytest.raises(ValueError, match=r"params/.* holds NaN or infinity"):
        stored._replace(fitted=fitted).save(path)
    spi_plugins.load_world_model(path)  # the file that was there
    name = "params/cost"

    def spoil(arrays):
        nonlocal name
        name = next(key for key in arrays if key.startswith("params/"))
        arrays[name] = arrays[name] * np.nan

    edit(path, arrays=spoil)
    with pytest.raises(ModelFileError, match=r"parameters .* holds NaN or infinity") as caught:
        spi_plugins.load_world_model(path)
    assert name.removeprefix("params/") in str(caught.value)
    assert str(path) in str(caught.value)


def test_garbled_values_raise_the_documented_error_or_none(path):
    with zipfile.ZipFile(path) as archive:
        paths = list(leaves(json.loads(archive.read("data"))))
    content = path.read_bytes()
    for number, value in enumerate((None, "x", -1, 10**30, [])):
        for keys in paths[number::5]:
            path.write_bytes(content)
            edit(path, data=lambda d, keys=keys, value=value: replace(d, keys, value))
            try:
                spi_plugins.load_world_model(path)
            except ModelFileError as error:
                if str(path) not in str(error):
                    raise
