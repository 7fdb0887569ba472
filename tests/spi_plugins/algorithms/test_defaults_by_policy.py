"""Defaults: SB3's for vectors and dicts, the paper's for images; what was chosen is told, stored and kept."""

import re

import pytest
import stable_baselines3
from tiny_models import CARTPOLE, tiny_ppo

from spi_plugins import PPO, DeepMDP, DeepSPI, DreamSPI
from spi_plugins.algorithms.deep_spi import PPOLag
from spi_plugins.algorithms.model_file import read_model_file, write_model_file
from spi_plugins.algorithms.policies import CnnPolicy, MlpPolicy
from spi_plugins.algorithms.saved_model import encode_schedule

PAPER = {"learning_rate": "lin_2.5e-4", "n_epochs": 4, "clip_range": 0.1, "ent_coef": 0.01}
SHARED = {"gamma": 0.99, "gae_lambda": 0.95, "vf_coef": 0.5, "max_grad_norm": 0.5, "clip_range_vf": None}
NETS = {"net_arch": [8]}


class OwnMlp(MlpPolicy):
    """A user's."""


class OwnCnn(CnnPolicy):
    """A user's."""


def values(model, names):
    return {
        name: encode_schedule(name, getattr(model, name), 1.0)
        if name in model.schedules
        else getattr(model, name)
        for name in names
    }


def as_stored(expected):
    return {
        name: {"schedule": "linear", "start": float(value[4:]), "end": 0.0, "end_fraction": 1.0}
        if isinstance(value, str)
        else value
        for name, value in expected.items()
    }


@pytest.mark.parametrize("cls", [PPO, DeepSPI, DeepMDP, PPOLag])
@pytest.mark.parametrize("policy", ["MlpPolicy", "MultiInputPolicy", OwnMlp])
def test_vectors_have_sb3s_numbers(cls, policy):
    theirs = stable_baselines3.PPO("MlpPolicy", "CartPole-v1", device="cpu", _init_setup_model=False)
    model = cls(policy, None, _init_setup_model=False)
    expected = {name: getattr(theirs, name) for name in (*PAPER, *SHARED)}
    assert values(model, expected) == expected


@pytest.mark.parametrize("cls", [PPO, DeepSPI, DeepMDP])
@pytest.mark.parametrize("policy", ["CnnPolicy", OwnCnn])
def test_images_have_the_papers_numbers(cls, policy):
    model = cls(policy, None, _init_setup_model=False)
    assert values(model, PAPER | SHARED) == as_stored(PAPER | SHARED)


def test_dream_spi_has_rates_of_its_own():
    model = DreamSPI("MlpPolicy", None, _init_setup_model=False)
    assert model.rates(0, 100)[0] == pytest.approx([1e-3] * 4)
    assert model.rates(0, 100)[1].ratio == pytest.approx([0.2, 0.2])
    assert (model.reward_loss_coef, model.transition_loss_coef, model.lipschitz) == (1.0, 100.0, False)
    assert (model.transition_density, model.world_model_kwargs) == ("deterministic", {"residual": True})
    assert (model.n_epochs, model.imagination_horizon, model.ent_coef) == (8, 16, 0.0)


@pytest.mark.parametrize(("name", "given"), [("n_epochs", 3), ("ent_coef", 0), ("clip_range", 0.5)])
def test_what_is_given_is_taken(name, given):
    model = PPO("MlpPolicy", None, **{name: given}, _init_setup_model=False)
    expected = {"n_epochs": 10, "ent_coef": 0.0, "clip_range": 0.2, name: given}
    assert values(model, expected) == expected


@pytest.mark.parametrize("policy", ["MlpPolicy", "CnnPolicy"])
def test_signatures_say_both(policy):
    assert "n_epochs: Passes over a rollout; by default `10`, with `CnnPolicy` `4`." in PPO.__doc__
    assert PPO(policy, None, n_epochs=None, _init_setup_model=False).n_epochs in (4, 10)


def test_what_was_chosen_is_told_and_stored(capsys, tmp_path):
    model = PPO("MlpPolicy", CARTPOLE, n_envs=2, gamma=0.9, n_epochs=2, policy_kwargs=NETS, verbose=1)
    chosen = "learning_rate=0.0003, n_steps=1024, batch_size=64, clip_range=0.2, ent_coef=0.0"
    assert f"Defaults for MlpPolicy: {chosen}\n" in capsys.readouterr().out
    model.save(tmp_path / "model")
    data = read_model_file(tmp_path / "model").data
    assert data["arguments"]["learning_rate"] == 3e-4
    assert data["defaults"] == {"kind": "mlp", "n_steps": 1024, "batch_size": 64}


def test_nothing_is_told_of_defaults_where_all_is_given(capsys):
    tiny_ppo(learning_rate=1e-3, clip_range=0.1, ent_coef=0.0, verbose=1)
    assert "Defaults" not in capsys.readouterr().out


def test_files_from_before_have_the_numbers_that_they_had(tmp_path):
    """They stored sizes that were left open as such; then all policies had 1024 transitions in 4 minibatches."""
    model = PPO("MlpPolicy", CARTPOLE, n_envs=2, policy_kwargs=NETS, **PAPER)
    assert (model.n_steps, model.batch_size) == (1024, 64)
    model.save(tmp_path / "new")
    file = read_model_file(tmp_path / "new")
    write_model_file(
        tmp_path / "old", {k: v for k, v in file.data.items() if k != "defaults"}, dict(file.arrays)
    )
    loaded = PPO.load(tmp_path / "old", env=CARTPOLE, n_envs=4)
    assert (loaded.n_steps, loaded.batch_size, loaded.n_epochs) == (256, 256, 4)
    assert values(loaded, PAPER) == as_stored(PAPER)
    loaded.save(tmp_path / "again")
    again = PPO.load(tmp_path / "again", env=CARTPOLE, n_envs=2)
    assert (again.n_steps, again.batch_size) == (512, 256)


def test_a_file_with_unknown_defaults_is_refused(tmp_path):
    tiny_ppo().save(tmp_path / "model")
    file = read_model_file(tmp_path / "model")
    write_model_file(tmp_path / "bad", file.data | {"defaults": {"kind": "rnn"}}, dict(file.arrays))
    with pytest.raises(ValueError, match=re.escape("defaults must be one of 'mlp', 'cnn', got 'rnn'")):
        PPO.load(tmp_path / "bad")
