"""TDMPC2 and SPOWL with discrete actions and predicted ends: both paths, files, and actions of every discrete space."""

import io

import jax
import numpy as np
import pytest
from gymnasium import spaces
from tiny_models import CARTPOLE, N_ENVS, tiny_tdmpc2
from toy_envs import VECTOR, ToyEnv

from spi_plugins import TDMPC2
from spi_plugins.algorithms.compiled_replay_collector import CompiledReplayCollector

STEPS = 32


def learner(**kwargs):
    return tiny_tdmpc2(CARTPOLE, n_envs=N_ENVS, episodic=True, **kwargs)


def leaves(model):
    parameters = [array for group in model.get_parameters().values() for array in group.values()]
    return [*parameters, *jax.tree.leaves(model.replay_buffer)]


@pytest.fixture(scope="module")
def compiled():
    return learner().learn(STEPS)


def test_both_paths_learn_the_same(compiled):
    stepped = learner(compiled=False).learn(STEPS)
    assert isinstance(compiled._collector, CompiledReplayCollector)
    assert compiled._n_updates == stepped._n_updates > 0
    for array, same in zip(leaves(compiled), leaves(stepped), strict=True):
        np.testing.assert_allclose(array, same, rtol=1e-5, atol=1e-5)
    stored = compiled.replay_buffer.slots.action
    assert stored.shape[2] == 1  # a number, not a one-hot
    assert set(np.unique(stored)) == {0.0, 1.0}


@pytest.mark.slow
def test_a_run_resumes_bit_for_bit(compiled):
    part, model_file, replay_file = learner().learn(20), io.BytesIO(), io.BytesIO()
    part.save(model_file)
    part.save_replay_buffer(replay_file)
    model_file.seek(0), replay_file.seek(0)
    resumed = TDMPC2.load(model_file, env=CARTPOLE)
    resumed.load_replay_buffer(replay_file)
    resumed.learn(STEPS - 20, reset_num_timesteps=False)
    for array, same in zip(leaves(resumed), leaves(compiled), strict=True):
        np.testing.assert_array_equal(array, same)


@pytest.mark.parametrize(
    "space",
    [
        pytest.param(spaces.Discrete(3, start=-1), id="start", marks=pytest.mark.slow),
        pytest.param(spaces.MultiDiscrete([[3, 2], [2, 4]]), id="matrix"),
        pytest.param(spaces.MultiBinary(2), id="binary", marks=pytest.mark.slow),
    ],
)
def test_actions_are_of_the_space_in_training_and_prediction(space):
    model = tiny_tdmpc2(ToyEnv(VECTOR, space), learning_starts=4, train_freq=100)
    model.learn(8)  # ``ToyEnv`` refuses actions outside of its space
    rows = np.stack([VECTOR.sample() for _ in range(3)])
    for deterministic in (True, False):
        action, _ = model.predict(rows[0], deterministic=deterministic)
        assert space.contains(action[()] if space.shape == () else action)
    many, plans = model.predict(rows, deterministic=True)
    assert many.shape == (3, *space.shape)
    assert jax.tree.leaves(plans)[0].shape == (3, 2, model.agent.world.spec.action_size)
