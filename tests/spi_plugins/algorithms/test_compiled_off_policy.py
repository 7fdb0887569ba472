"""SPOWL with steps and gradient steps as one program: the same as stepped from Python, resumed, and in which memory."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from killed_training import train_until_killed
from stable_baselines3.common.callbacks import BaseCallback
from tiny_models import N_ENVS, POINT_GOAL, tiny_spowl, tiny_tdmpc2

from spi_plugins import SPOWL, buffers
from spi_plugins.agents.interaction import Carried, Steps
from spi_plugins.algorithms.compiled_replay_collector import CompiledReplayCollector
from spi_plugins.backend import at_precision

STEPS, ITERATION = 40, 8


class Watch(BaseCallback):
    """Notes the steps and rewards that hooks see."""

    def __init__(self):
        super().__init__()
        self.seen, self.rollouts = [], 0

    def _on_rollout_end(self):
        self.rollouts += 1

    def _on_step(self):
        self.seen.append((self.num_timesteps, *self.locals["rewards"], *self.locals["actions"].ravel()))
        return True


def trained(**kwargs):
    watch = Watch()
    model = tiny_spowl(**kwargs)
    return model.learn(STEPS, callback=watch), watch


@pytest.fixture(scope="module")
def compiled():
    return trained()


@pytest.fixture(scope="module")
def stepped():
    return trained(compiled=False)


def assert_same(model, other, tolerance=1e-5):
    """Float32 sums in another order are the only difference that is allowed."""
    ours, theirs = model.get_parameters(), other.get_parameters()
    for group, arrays in ours.items():
        for name, array in arrays.items():
            np.testing.assert_allclose(
                array, theirs[group][name], rtol=tolerance, atol=tolerance, err_msg=name
            )
    for array, same in zip(*map(jax.tree.leaves, (model.replay_buffer, other.replay_buffer)), strict=True):
        np.testing.assert_allclose(array, same, rtol=tolerance, atol=tolerance)


def test_both_paths_learn_the_same(compiled, stepped):
    assert isinstance(compiled[0]._collector, CompiledReplayCollector)
    assert_same(compiled[0], stepped[0])
    assert compiled[0]._n_updates == stepped[0]._n_updates > 0
    assert compiled[0]._collector._run._cache_size() == 1


def test_hooks_see_the_same_steps_in_both(compiled, stepped):
    np.testing.assert_allclose(compiled[1].seen, stepped[1].seen, rtol=1e-5, atol=1e-6)
    assert compiled[1].rollouts == stepped[1].rollouts == STEPS // ITERATION
    infos = [
        [(info["l"], round(info["r"], 5)) for info in model.ep_info_buffer]
        for model, _ in (compiled, stepped)
    ]
    assert infos[0] == infos[1]


def test_a_killed_run_goes_on_exactly_from_its_checkpoint(compiled, tmp_path):
    # Saved within an iteration: the file stands at its end.
    train_until_killed(tmp_path, "tiny_spowl", steps=STEPS, every=9, at=24)
    again = SPOWL.load(tmp_path / "model_18_steps.zip", env=tiny_spowl().get_env())
    again.load_replay_buffer(tmp_path / "model_replay_buffer_18_steps.pkl")
    assert again.num_timesteps == 24
    again.learn(STEPS - again.num_timesteps, reset_num_timesteps=False)
    assert_same(again, compiled[0], tolerance=0.0)


def test_compiled_true_says_why_it_is_not_possible():
    with pytest.raises(
        ValueError, match="compiled=True is not possible here: the replay buffer is in the host"
    ):
        tiny_tdmpc2(compiled=True, buffer_device="host").learn(N_ENVS)
    with pytest.raises(ValueError, match="only functional environments"):
        tiny_tdmpc2("Pendulum-v1", compiled=True).learn(1)


def test_a_million_transitions_of_60_numbers_are_held_once():
    """The plan of XLA's allocations; nothing is allocated."""

    def wide(state, params):
        obs = POINT_GOAL.observation(state, params)
        return jnp.pad(obs, (0, 60 - obs.size))

    spec = dataclasses.replace(POINT_GOAL.observation_spec, shape=(60,), low=-np.inf, high=np.inf)
    model = tiny_tdmpc2(POINT_GOAL._replace(observation_spec=spec, observation=wide), n_envs=N_ENVS)
    model._setup_learn(1)
    collector = model._make_collector()
    model._start(collector)
    capacity = 1_000_000 // N_ENVS
    ring = jax.eval_shape(lambda: buffers.init(model._specs()[0], 2, N_ENVS, capacity))
    held = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(ring))
    assert held < 260e6  # 4 * (60 + 2 + 2) + 3 bytes for each
    carried = Carried(ring, collector.env.state, collector._obs, collector._plan, collector._episode_start)
    steps = Steps(*(np.int32(n) for n in (4, 0, 8)))
    inputs = model._agent_state, carried, collector.env.params, steps, np.int32(8), np.float32(0)
    memory = collector._run.lower(*inputs).compile().memory_analysis()
    assert memory.alias_size_in_bytes >= held  # written in place
    at_most = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    assert at_most + memory.temp_size_in_bytes < 1.05 * held


def test_precision_is_that_of_products_on_an_accelerator(monkeypatch):
    def text(precision):
        return jax.jit(at_precision(lambda a: a @ a, precision)).lower(jnp.ones((2, 2))).as_text()

    assert "HIGHEST" not in text("highest")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert "HIGHEST" in text("highest")
    assert text("bf16") != text("highest") != text("tf32")
