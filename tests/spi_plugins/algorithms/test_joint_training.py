"""Models of several seeds in one program equal those that are trained alone."""

import re

import jax
import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback
from tiny_models import CARTPOLE, ROLLOUT, tiny_ppo

from spi_plugins import PPO, learn_together
from spi_plugins.algorithms import joint_training
from spi_plugins.algorithms.joint_training import memory_reason

STEPS = 6 * ROLLOUT


def assert_close(model, other):
    for a, b in zip(
        jax.tree.leaves(model.get_parameters()), jax.tree.leaves(other.get_parameters()), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)  # float32, through 24 gradient steps
    assert list(model.ep_info_buffer) == list(other.ep_info_buffer)
    assert (model.num_timesteps, model._n_updates) == (other.num_timesteps, other._n_updates)


def test_two_seeds_together_are_two_seeds_alone_and_go_on_alone(tmp_path):
    models = learn_together([tiny_ppo(seed=seed) for seed in (0, 1)], STEPS)
    for seed, model in enumerate(models):
        assert_close(model, tiny_ppo(seed=seed).learn(STEPS))
        model.save(tmp_path / f"{seed}")
        loaded = PPO.load(tmp_path / f"{seed}", CARTPOLE).learn(ROLLOUT, reset_num_timesteps=False)
        assert_close(loaded, model.learn(ROLLOUT, reset_num_timesteps=False))
    assert not np.array_equal(*(model._last_obs for model in models))
    program = models[0]._collector.joint._run
    learn_together(models, STEPS)
    assert models[0]._collector.joint._run is program
    assert program._cache_size() == 1


def test_callbacks_of_each_model_keep_their_frequencies(tmp_path):
    class Stop(BaseCallback):
        def quiet_steps(self):
            return 10**6

        def _on_rollout_start(self):
            if self.model.num_timesteps >= 4 * ROLLOUT:
                raise KeyboardInterrupt

        def _on_step(self):
            return True

    models = [tiny_ppo(seed=seed) for seed in (0, 1)]
    callbacks = [[CheckpointCallback(9, str(tmp_path / str(i)), "m"), Stop()] for i in (0, 1)]
    with pytest.raises(KeyboardInterrupt):
        learn_together(models, 1000, callbacks)
    assert models[0].num_timesteps == models[1].num_timesteps >= 4 * ROLLOUT
    for i in (0, 1):
        assert (tmp_path / str(i) / "m_18_steps.zip").is_file()


def test_whether_models_fit_is_known_from_the_plan_of_their_program(monkeypatch):
    model = tiny_ppo(n_steps=32, n_envs=64)
    with monkeypatch.context() as roomy:
        roomy.setattr(joint_training, "device_bytes", lambda device: 2**40)
        assert memory_reason(model, 3) is None
    monkeypatch.setattr(joint_training, "device_bytes", lambda device: 1000)
    found = re.fullmatch(
        r"3 models in one program take (\S+) MB, more than 80% of the 0\.0 MB of .*",
        memory_reason(model, 3),
    )
    # At least what is kept of three rollouts, of which observations, four numbers each, are more than half.
    rollouts = 3 * 32 * 64 * 4 * (4 + 3)
    assert rollouts < float(found[1]) * 1e6 < 20 * rollouts
    assert model.num_timesteps == 0
    assert model._last_obs is None  # nothing has begun


def test_models_that_differ_in_more_are_refused():
    with pytest.raises(ValueError, match=r"gamma is .* in one and"):
        learn_together([tiny_ppo(), tiny_ppo(gamma=0.9)], STEPS)
    with pytest.raises(ValueError, match="functional environments"):
        learn_together([tiny_ppo("stepped"), tiny_ppo("stepped")], STEPS)
