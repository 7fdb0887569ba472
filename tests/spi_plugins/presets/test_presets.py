"""Presets: found as ``spi train`` finds them, every entry checked against the declarations; nothing is built."""

import json
import pathlib
import subprocess
import sys

import gymnasium
import pytest

import spi_plugins
from spi_plugins import presets
from spi_plugins.cli.declarations import read_declarations
from spi_plugins.cli.train_options.hyperparameters import POLICIES
from spi_plugins.plugins import registry
from spi_plugins.presets import files

RECORD = pathlib.Path(__file__).parents[3] / "docs" / "results" / "presets.jsonl"
ENTRIES = [presets.read(name)[key] for name in presets.known() for key in presets.read(name)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    def forget():
        files.read.cache_clear()
        files._entries.cache_clear()

    monkeypatch.setattr(files, "FOLDER", tmp_path)
    forget()
    yield tmp_path
    forget()


@pytest.mark.parametrize("preset", ENTRIES, ids=lambda preset: f"{preset.algorithm}-{preset.env}")
def test_every_preset_is_what_the_algorithm_takes(preset):
    known = read_declarations(registry("algorithms").get(preset.algorithm).target)
    assert preset.n_timesteps > 0
    for name, value in preset.hyperparameters.items():
        assert name in known, name
        known[name].check(value)
    assert preset.policy in (None, *POLICIES)
    known["n_envs"].check(preset.n_envs)
    if preset.normalize:
        assert set(preset.normalize) <= {"norm_obs", "norm_reward", "clip_obs", "clip_reward", "gamma"}
    for name, _ in preset.env_wrapper:
        assert name in registry("wrappers").names() or ":" in name


@pytest.mark.parametrize("preset", ENTRIES, ids=lambda preset: f"{preset.algorithm}-{preset.env}")
def test_every_environment_exists_and_every_result_is_whole(preset):
    special = preset.env in (files.DEFAULT, files.ATARI)
    assert special or preset.env in registry("envs").names() or preset.env in gymnasium.registry
    if preset.results is not None:
        assert {*preset.results} - {"costs", "command"} == {"returns", "episodes", "minutes"}
        assert len(preset.results["returns"]) >= 3


def test_results_are_those_of_the_record_with_the_same_settings():
    record = [json.loads(line) for line in RECORD.read_text().splitlines()]
    for preset in ENTRIES:
        if preset.results is None or "command" in preset.results:
            continue
        rows = [row for row in record if (row["algorithm"], row["env"]) == (preset.algorithm, preset.env)]
        rows.sort(key=lambda row: row["seed"])
        assert [row["mean_return"] for row in rows] == pytest.approx(preset.results["returns"], rel=1e-3)
        assert all(row["settings"] == json.loads(json.dumps(preset.entries)) for row in rows)


def test_an_environment_is_found_by_its_id_and_games_share_one():
    assert presets.find("ppo", "CartPole-v1").env == "CartPole-v1"
    assert presets.find("ppo", "my_package:CartPole-v1").env == "CartPole-v1"
    assert presets.find("ppo", "envpool:Breakout-v5").env == "atari"
    assert presets.find("ppo", "envpool:Ant-v5").env == "Ant-v5"
    assert presets.find("ppo", "Nothing-v0").env == "default"
    assert presets.find("no_such_algorithm", "CartPole-v1") is None


def test_games_are_those_of_envpool():
    envpool = pytest.importorskip("envpool")
    pool = [name for name in envpool.list_all_envs() if name.endswith("-v5")]
    games = {name for name in pool if files.is_atari_game(f"envpool:{name}")}
    assert {"Breakout-v5", "Pong-v5", "MontezumaRevenge-v5"} <= games
    assert not games & {f"{robot}-v5" for robot in files._MUJOCO}
    assert not files.is_atari_game("Breakout-v5")
    assert not files.is_atari_game("envpool:Breakout")


def test_an_entry_reads_like_rl_zoo3s(folder):
    (folder / "ppo.yml").write_text(
        "_shared: &shared {policy: MlpPolicy, gamma: 0.9}\n"
        "A-v0:\n  <<: *shared\n  n_timesteps: !!float 2e5\n  normalize: \"{'norm_reward': False}\"\n"
        "  env_wrapper:\n    - action_repeat: {repeat: 5}\n    - my.module:Wrapper\n"
        '  policy_kwargs: "dict(net_arch=[64], activation_fn=nn.ReLU)"\n  learning_rate: lin_3e-4\n'
        "  results: not run\n  source: a paper\n"
    )
    preset = presets.find("ppo", "A-v0")
    assert (preset.n_timesteps, preset.policy, preset.normalize) == (
        200_000,
        "MlpPolicy",
        {"norm_reward": False},
    )
    assert preset.env_wrapper == (("action_repeat", {"repeat": 5}), ("my.module:Wrapper", {}))
    assert preset.hyperparameters == {
        "gamma": 0.9,
        "policy_kwargs": {"net_arch": [64], "activation_fn": "ReLU"},
        "learning_rate": "lin_3e-4",
    }
    assert (preset.results, preset.source) == (None, "a paper")
    assert set(preset.entries) == {
        *preset.hyperparameters,
        "n_timesteps",
        "policy",
        "normalize",
        "env_wrapper",
    }
    assert presets.find("ppo", "B-v0") is None


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{policy: MlpPolicy}", "The preset of ppo for A must be a mapping with n_timesteps"),
        ("{n_timesteps: 1, normalize: maybe}", "has normalize='maybe'; it must be true, false or a dict"),
        ("{n_timesteps: 1, env_wrapper: [3]}", r"has env_wrapper=\[3\]; it must be names"),
    ],
)
def test_a_wrong_entry_is_named(folder, entry, message):
    (folder / "ppo.yml").write_text(f"A: {entry}\n")
    with pytest.raises(ValueError, match=message):
        presets.read("ppo")


@pytest.mark.parametrize(
    ("algorithm", "env", "message"),
    [
        ("ppo", "CartPole-v2", "ppo has no preset for 'CartPole-v2'. Did you mean 'CartPole-v1'?"),
        ("tdmpc2", "Acrobot-v1", "tdmpc2 has no preset for 'Acrobot-v1'.*There is one of deep_spi, ppo"),
    ],
)
def test_what_has_no_preset_is_refused_with_a_hint(algorithm, env, message):
    with pytest.raises(spi_plugins.plugins.UnknownPluginError, match=message):
        spi_plugins.make(algorithm, env=env, preset=True)


def test_make_takes_the_preset_and_what_is_given_wins():
    model = spi_plugins.make("ppo", env="CartPole-v1", preset=True, n_envs=2, n_steps=8, batch_size=8, seed=0)
    assert (model.n_envs, model.n_steps, model.batch_size, model.n_epochs) == (2, 8, 8, 20)
    assert (model.gamma, model.default_total_timesteps) == (0.98, 100_000)
    with pytest.raises(ValueError, match="env must be an id to have a preset, got <"):
        spi_plugins.make("ppo", env=model.get_env(), preset=True)


@pytest.mark.parametrize("algorithm", list(spi_plugins.plugins.registry("algorithms").names()))
def test_without_a_preset_a_policy_is_required(algorithm):
    with pytest.raises(TypeError, match=rf"make\('{algorithm}'\) needs a policy: 'MlpPolicy' for vectors"):
        spi_plugins.make(algorithm, env="CartPole-v1")


def test_reading_imports_neither_jax_nor_torch():
    code = (
        "import sys; from spi_plugins import presets; presets.find('ppo', 'CartPole-v1');"
        "print([m for m in ('jax', 'torch', 'stable_baselines3') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
