"""``DreamSPI`` behind SB3's face: what differs from the other on-policy algorithms."""

import csv
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from stable_baselines3.common.logger import configure
from stable_baselines3.common.utils import LinearSchedule
from tiny_models import CARTPOLE, N_ENVS, N_STEPS, PATHS, ROLLOUT, SMALL
from toy_envs import CHANNELS_LAST, ToyEnv

from spi_plugins import DeepSPI, DreamSPI, load_world_model
from spi_plugins.algorithms.model_file import read_model_file
from spi_plugins.algorithms.step_collector import StepCollector

TINY = {
    **SMALL,
    "policy_kwargs": {"net_arch": [8], "latent_arch": [6]},
    "transition_density": "deterministic",
    "imagination_horizon": 2,
    # DeepSPI's settings, with which some tests compare; DreamSPI has others for vectors.
    "lipschitz": True,
    "reward_loss_coef": 0.01,
    "transition_loss_coef": 5e-4,
    "world_model_kwargs": {},
    "clip_range": 0.1,
    "ent_coef": 0.01,
}
REPLAY = {"replay_size": 20}
RATES = ("encoder_learning_rate", "world_model_learning_rate", "actor_learning_rate", "critic_learning_rate")


def tiny_dream_spi(path="compiled", **kwargs):
    env, compiled = PATHS[path]
    return DreamSPI("MlpPolicy", env, **{"n_envs": N_ENVS, "compiled": compiled, **TINY, **kwargs})


def test_the_official_rates_and_horizon_are_the_defaults_for_images():
    model = DreamSPI("CnnPolicy", None, _init_setup_model=False)
    rates, clip_ranges = model.rates(0, 100)
    np.testing.assert_allclose(rates, [2e-4, 2e-4, 2.75e-5, 2.75e-5], rtol=1e-6)
    np.testing.assert_allclose(clip_ranges.ratio, [0.1, 0.1], rtol=1e-6)
    assert (model.imagination_horizon, model.imagination_epochs, model.n_imagination_rollouts) == (8, 1, 1)
    assert not model.dyna
    assert not model.soft_termination


def test_rates_fall_with_the_steps_made_and_never_below_their_end():
    model = tiny_dream_spi(
        encoder_learning_rate=LinearSchedule(1.0, 0.0, 1.0),
        world_model_learning_rate=lambda remaining: 2.0 * remaining,
        actor_learning_rate=0.5,
        wm_clip_range=lambda remaining: 0.1 + remaining,
        imagination_epochs=7,  # gradient steps do not count
    )
    np.testing.assert_allclose(model.rates(25, 100)[0][:3], [0.75, 1.5, 0.5])
    np.testing.assert_allclose(model.rates(25, 100)[1].ratio, [0.85, 0.1], rtol=1e-6)
    # The last rollout may end after the total.
    np.testing.assert_array_equal(model.rates(104, 100)[0][:3], [0.0, 0.0, 0.5])


@pytest.mark.parametrize("path", ["compiled", "stepped"])
def test_rates_losses_and_dreams_are_logged(tmp_path, path):
    model = tiny_dream_spi(path)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(4 * ROLLOUT)
    model.logger.close()
    with open(tmp_path / "progress.csv") as file:
        last = list(csv.DictReader(file))[-1]
    train = {*RATES, "wm_clip_range", "clip_range", "n_updates", "loss", "transition_loss", "reward_loss"}
    train |= {"termination_loss", "latent_norm", "approx_kl", "explained_variance", "ratio_max", "grad_norm"}
    dream = {"mean_return", "mean_length", "ended", "mean_value", "loss", "value_loss", "entropy_loss"}
    dream |= {"policy_gradient_loss", "approx_kl", "clip_fraction", "ratio_min", "ratio_max", "grad_norm"}
    assert {f"train/{name}" for name in train} | {f"dream/{name}" for name in dream} <= set(last)
    assert "train/learning_rate" not in last
    assert "dream/transition_loss" not in last  # no model learns from dreams
    # Three updates are in the log: two epochs of 8 / 4 minibatches, and one of 2 * 8 / 4 on dreams of two steps.
    assert int(last["train/n_updates"]) == 3 * (4 + 4)
    assert 0 < float(last["dream/mean_length"]) <= 2
    assert float(last["train/actor_learning_rate"]) == pytest.approx(1e-3 / 4, rel=1e-4)


def test_both_rollout_paths_take_the_same_actions_and_learn_the_same():
    runs = []
    for path in ("compiled", "stepped"):
        model = tiny_dream_spi(path, **dict.fromkeys(RATES, 1e-3)).learn(3 * ROLLOUT)
        assert (type(model._collector) is StepCollector) is (path == "stepped")
        runs.append(model)
    one, two = (model.get_parameters() for model in runs)
    assert [info["l"] for info in runs[0].ep_info_buffer] == [info["l"] for info in runs[1].ep_info_buffer]
    for group in ("policy", "world_model"):
        for name, value in one[group].items():
            np.testing.assert_allclose(value, two[group][name], atol=1e-5, err_msg=f"{group}/{name}")
    # Programs are compiled once.
    for model, entry in zip(runs, ("_run", "_update"), strict=True):
        model.learn(2 * ROLLOUT, reset_num_timesteps=False)
        model.set_parameters(model.get_parameters())
        model.learn(2 * ROLLOUT)
        assert getattr(model._collector, entry)._cache_size() == 1


@pytest.mark.parametrize("path", [pytest.param("compiled", marks=pytest.mark.slow), "stepped"])
def test_past_rollouts_are_replayed_and_logged(tmp_path, path):
    model = tiny_dream_spi(path, **REPLAY, n_replays=2)
    model.set_logger(configure(str(tmp_path), []))
    model.learn(4 * ROLLOUT)
    logged = model.logger.name_to_value
    assert {"replay/transition_loss", "replay/reward_loss", "replay/ratio_max", "replay/value_loss"} <= set(
        logged
    )
    assert model._agent_state.replay.size == 20 // N_STEPS
    assert model._n_updates == 4 * (4 + 8 + 4)
    successors = np.asarray(model._agent_state.replay.sequences.next_obs)
    assert np.abs(successors).max() > 0
    before = tiny_dream_spi(path)
    before.set_logger(configure(str(tmp_path), []))
    before.learn(ROLLOUT)
    assert not any(name.startswith("replay/") for name in before.logger.name_to_value)


@pytest.mark.slow
def test_past_rollouts_that_do_not_fit_are_left_in_the_file_and_said_so(tmp_path):
    model = tiny_dream_spi(**REPLAY).learn(2 * ROLLOUT)
    model.save(tmp_path / "model")
    with pytest.warns(UserWarning, match="past rollouts do not fit .* begins without any"):
        smaller = DreamSPI.load(tmp_path / "model", env=CARTPOLE, replay_size=ROLLOUT)
    assert smaller._agent_state.replay.size == 0
    smaller.learn(ROLLOUT, reset_num_timesteps=False)
    with pytest.warns(UserWarning, match="past rollouts do not fit"):
        none = DreamSPI.load(tmp_path / "model", replay_size=0)
    for name, value in model.get_parameters()["policy"].items():
        np.testing.assert_array_equal(none.get_parameters()["policy"][name], value)
    # With more copies the sequences are the same.
    more = DreamSPI.load(tmp_path / "model", env=CARTPOLE, n_envs=4)
    assert more._agent_state.replay.size == 4


def test_optimizers_are_stored_by_slice():
    parameters = tiny_dream_spi().get_parameters()
    assert set(parameters) == {"policy", "world_model", "optimizer"}
    slices = {name.split("/")[0] for name in parameters["optimizer"]}
    assert slices == {"representation", "world_model", "actor", "critic"}
    assert any(name.startswith("termination/") for name in parameters["world_model"])


# Loads a file, trains to the total and saves the result next to it.
RESUME = """
import sys
from spi_plugins.algorithms.dream_spi import DreamSPI
from spi_plugins.envs.cartpole import make_cartpole

model = DreamSPI.load(sys.argv[1], env=make_cartpole(max_episode_steps=9))
model.learn(int(sys.argv[2]) - model.num_timesteps, reset_num_timesteps=False)
model.save(sys.argv[1] + ".resumed")
"""


@pytest.mark.slow
def test_a_run_resumed_in_another_process_equals_one_that_was_never_interrupted(tmp_path):
    settings = {**dict.fromkeys(RATES, 3e-3), **REPLAY}
    total = 10 * ROLLOUT
    tiny_dream_spi(**settings).learn(total).save(tmp_path / "whole.zip")
    tiny_dream_spi(**settings).learn(total // 2).save(tmp_path / "half.zip")
    env = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled")}
    subprocess.run([sys.executable, "-c", RESUME, tmp_path / "half.zip", str(total)], check=True, env=env)
    ours, theirs = (read_model_file(tmp_path / name).arrays for name in ("half.zip.resumed", "whole.zip"))
    assert ours.keys() == theirs.keys()
    assert "run/replay/sequences/next_obs" in ours
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)


def test_a_loaded_model_has_all_its_arguments(tmp_path):
    model = tiny_dream_spi(
        encoder_learning_rate=LinearSchedule(1e-3, 0.0, 1.0),
        dyna=True,
        soft_termination=True,
        imagination_epochs=2,
        n_imagination_rollouts=3,
        wm_clip_range=0.3,
        termination_loss="smooth_l1",
        n_replays=3,
        replay_correction="ratio",
    )
    model.save(tmp_path / "model")
    loaded = DreamSPI.load(tmp_path / "model")
    for name in DreamSPI.stored_arguments:
        if name not in DreamSPI.schedules and name != "policy_kwargs":
            assert getattr(loaded, name) == getattr(model, name), name
    for mine, theirs in zip(model.rates(3, 10), loaded.rates(3, 10), strict=True):
        jax.tree.map(np.testing.assert_array_equal, mine, theirs)


def test_sizes_that_were_left_open_are_chosen_by_the_number_of_copies(tmp_path):
    model = tiny_dream_spi(n_steps=None, batch_size=None)
    assert model.n_steps * N_ENVS == 1024  # DreamSPI's for any policy
    assert model.imagination_batch_size == model.batch_size == 256
    model.save(tmp_path / "model")
    loaded = DreamSPI.load(tmp_path / "model", env=CARTPOLE, n_envs=4)
    assert (loaded.n_steps, loaded.imagination_batch_size) == (256, 256)


@pytest.mark.slow
def test_pixels_are_dreamed_of_as_feature_maps():
    kwargs = {"net_arch": [8], "conv_layers": [(4, 4, 4)]}
    model = DreamSPI("CnnPolicy", ToyEnv(CHANNELS_LAST), **{**TINY, "batch_size": 4, "policy_kwargs": kwargs})
    assert model.agent.policy.latent_shape == (3, 3, 4)
    model.learn(N_STEPS)
    assert np.isfinite(np.concatenate([x.ravel() for x in model.get_parameters()["policy"].values()])).all()


@pytest.mark.parametrize(("latent_arch", "bound"), [([6], 1.0), ([], np.inf)])
def test_the_world_that_it_has_learned_is_stored_like_deep_spis(tmp_path, latent_arch, bound):
    model = tiny_dream_spi(policy_kwargs={"net_arch": [8], "latent_arch": latent_arch})
    model.save_world_model(tmp_path / "world", np.zeros((2, 4), np.float32))
    spec = load_world_model(tmp_path / "world").fitted.model.spec
    assert spec.has_termination
    # The activation bounds a layer's latents; nothing bounds an observation.
    assert (spec.latent_low, spec.latent_high) == (-bound, bound)


BAD = {
    "learning_rate": ({"learning_rate": 1e-3}, r"DreamSPI\(\) got .* 'learning_rate'"),
    "target_kl": ({"target_kl": 0.1}, r"DreamSPI\(\) got .* 'target_kl'"),
    "termination_model": ({"termination_model": True}, r"DreamSPI\(\) got .* 'termination_model'"),
    "encoder_learning_rate": (
        {"encoder_learning_rate": -1.0},
        r"encoder_learning_rate must be a number at least 0, got -1\.0.* function",
    ),
    "critic_learning_rate": ({"critic_learning_rate": "x"}, "critic_learning_rate must be .* got 'x'"),
    "wm_clip_range": ({"wm_clip_range": 0}, "wm_clip_range must be a number above 0, got 0"),
    "dyna": ({"dyna": "yes"}, "dyna must be one of True, False, got 'yes'"),
    "soft_termination": ({"soft_termination": 2}, "soft_termination must be one of True, False, got 2"),
    "termination_loss": ({"termination_loss": "l2"}, "termination_loss must be one of 'cross_.* got 'l2'"),
    "replay_size": ({"replay_size": -1}, "replay_size must be an integer of at least 0, got -1"),
    "replay_size below a rollout": (
        {"replay_size": 7},
        r"replay_size=7 must be 0 or hold a rollout of n_steps \* n_envs = 4 \* 2 = 8 steps",
    ),
    "n_replays": ({"n_replays": 0}, "n_replays must be an integer of at least 1, got 0"),
    "replay_correction": (
        {"replay_correction": "none"},
        "replay_correction must be one of 'ratio', 'vtrace', got 'none'",
    ),
    "imagination_horizon": ({"imagination_horizon": 0}, "imagination_horizon must be .* at least 1, got 0"),
    "imagination_epochs": ({"imagination_epochs": 0.5}, "imagination_epochs must be an integer.* got 0.5"),
    "n_imagination_rollouts": ({"n_imagination_rollouts": 0}, "n_imagination_rollouts must be .* got 0"),
    "imagination_batch_size": ({"imagination_batch_size": 1}, "imagination_batch_size must be .* got 1"),
    "transition_loss_coef": (
        {"transition_loss_coef": 0},
        "transition_loss_coef must be a number above 0, got 0",
    ),
    "latent_arch": (
        {"policy_kwargs": {"net_arch": [8], "latent_arch": None}},
        "latent_arch=None leaves the critic on the observation",
    ),
    "latent_arch text": (
        {"policy_kwargs": {"latent_arch": "big"}},
        "latent_arch must be a list .* got 'big'",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_arguments_out_of_range_are_refused(kind):
    kwargs, message = BAD[kind]
    with pytest.raises((ValueError, TypeError), match=message):
        tiny_dream_spi(**kwargs)


def test_the_first_phase_without_dreams_of_consequence_is_deep_spis_objective(tmp_path):
    """With all rates 0 the losses of real steps are those of ``DeepSPI`` on the same networks."""
    settings = {**TINY, "n_envs": N_ENVS, "n_epochs": 1, "batch_size": ROLLOUT}
    still = dict.fromkeys(RATES, 0.0)
    dreaming = DreamSPI("MlpPolicy", CARTPOLE, termination_loss="smooth_l1", **still, **settings)
    del settings["imagination_horizon"]
    plain = DeepSPI("MlpPolicy", CARTPOLE, learning_rate=0.0, termination_model=True, **settings)
    plain.set_parameters(
        {name: dreaming.get_parameters()[name] for name in ("policy", "world_model")}, exact_match=False
    )
    losses = []
    for model in (dreaming, plain):
        model.set_logger(configure(str(tmp_path), []))
        model.learn(ROLLOUT)
        losses.append(dict(model.logger.name_to_value))
    for name in ("policy_gradient_loss", "value_loss", "reward_loss", "termination_loss", "transition_loss"):
        assert losses[0][f"train/{name}"] == pytest.approx(losses[1][f"train/{name}"], rel=1e-5), name
