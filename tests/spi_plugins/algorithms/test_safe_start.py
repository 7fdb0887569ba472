"""Options of SPOWL against costs early in training: cautious random actions, a phase of pre-training, a shield."""

import jax
import numpy as np
import pytest
from tiny_models import N_ENVS, tiny_spowl, tiny_tdmpc2

from spi_plugins import SPOWL
from spi_plugins.envs.cost_cartpole import make_cost_cartpole

PRETRAINED = {"pretrain_steps": 3, "gradient_steps": 2}


@pytest.fixture(scope="module")
def plain():
    return tiny_spowl(learning_starts=16).learn(16)


def first_actions(model):
    return np.asarray(model.replay_buffer.slots.action[:, 1:7])


def test_cautious_random_actions_are_scaled_ones(plain):
    cautious = tiny_spowl(learning_starts=16, random_scale=0.25).learn(16)
    np.testing.assert_allclose(first_actions(cautious), 0.25 * first_actions(plain), rtol=1e-6)
    assert np.abs(first_actions(plain)).max() > 0.5


def test_the_first_update_after_random_actions_has_the_steps_of_pre_training():
    model = tiny_spowl(**PRETRAINED)
    updates = []
    for total in (8, 16, 24):  # an update is due every 8 steps
        model.learn(total - model.num_timesteps, reset_num_timesteps=False)
        updates.append(model._n_updates)
    assert updates == [3, 5, 7]


@pytest.mark.parametrize("compiled", [None, False])
def test_with_data_the_first_update_comes_before_the_first_step(plain, tmp_path, compiled):
    plain.save_replay_buffer(tmp_path / "data.npz")
    model = tiny_spowl(**PRETRAINED, learning_starts=0, compiled=compiled)
    model.load_replay_buffer(tmp_path / "data.npz")
    stored = int(np.sum(model.replay_buffer.size))
    model.learn(N_ENVS)  # not yet a regular update
    assert model._n_updates == 3
    assert (
        int(np.sum(model.replay_buffer.size)) == stored + 2 * N_ENVS
    )  # the data stay; a reset and a step more
    # Its costs are not those of this training.
    assert model._standing.total_steps == N_ENVS
    model.learn(N_ENVS, reset_num_timesteps=False)
    assert model._n_updates == 3  # it is not repeated


def test_without_data_there_is_nothing_to_learn_before_the_first_step():
    model = tiny_spowl(**PRETRAINED, learning_starts=0).learn(8)
    assert model._n_updates == 3


def test_a_run_with_all_options_resumes_bit_for_bit(tmp_path):
    options = {**PRETRAINED, "random_scale": 0.5, "shield": 0.1}
    whole = tiny_spowl(**options).learn(16)
    model = tiny_spowl(**options).learn(8)
    model.save(tmp_path / "model.zip")
    model.save_replay_buffer(tmp_path / "replay.npz")
    model = SPOWL.load(tmp_path / "model.zip", env=model.get_env())
    assert {name: getattr(model, name) for name in options} == options
    model.load_replay_buffer(tmp_path / "replay.npz")
    model.learn(8, reset_num_timesteps=False)
    assert model._n_updates == whole._n_updates
    jax.tree.map(np.testing.assert_array_equal, model.get_parameters(), whole.get_parameters())


def test_the_shield_of_a_model_changes_what_it_does():
    model = tiny_spowl()
    obs = np.zeros((4, *model.observation_space.shape), np.float32)
    assert "shielded" in tiny_spowl(shield=0.0).agent.planner.name
    assert "shielded" not in model.agent.planner.name
    # Untrained critics expect no cost: nothing is blocked.
    action, _ = tiny_spowl(shield=0.0).predict(obs, deterministic=True)
    assert action.shape == (4, 2)


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ({"pretrain_steps": -1}, "pretrain_steps must be an integer of at least 0"),
        ({"random_scale": 0.0}, "random_scale must be a number above 0 and at most 1"),
        ({"random_scale": 1.5}, "random_scale must be a number above 0 and at most 1"),
        ({"shield": -0.1}, "shield must be a number at least 0"),
    ],
)
def test_bad_arguments_are_refused(argument, words):
    with pytest.raises(ValueError, match=words):
        tiny_spowl(**argument)


def test_discrete_actions_have_no_size():
    with pytest.raises(ValueError, match="random_scale must be 1 for discrete actions"):
        tiny_tdmpc2(make_cost_cartpole(), n_envs=2, random_scale=0.5)
