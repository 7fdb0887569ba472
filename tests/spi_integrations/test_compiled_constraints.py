"""Safe baselines on functional environments: compiled, with the numbers of the wrappers for any ``VecEnv``."""

import jax
import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback

import spi_plugins
from spi_integrations.stable_baselines3 import VecCostMonitor
from spi_plugins.algorithms.compiled_collector import CompiledCollector
from spi_plugins.algorithms.step_collector import StepCollector
from spi_plugins.algorithms.vec_envs import FunctionalVecEnv
from spi_plugins.envs.cost_cartpole import make_cost_cartpole

NAMES = ("ppo_saute", "ppo_early")
ENV = make_cost_cartpole(0.03, max_episode_steps=9)
SMALL = {"n_steps": 8, "batch_size": 8, "n_epochs": 1, "policy_kwargs": {"net_arch": [8]}, "seed": 0}
STEPS = 64


def make(name, env=ENV, **kwargs):
    copies = {} if isinstance(env, VecCostMonitor) else {"n_envs": 2}
    return spi_plugins.make(name, "MlpPolicy", env, **{"cost_limit": 2.0, **SMALL, **copies, **kwargs})


def assert_alike(model, other, rtol=0.0):
    for a, b in zip(
        jax.tree.leaves(model.get_parameters()), jax.tree.leaves(other.get_parameters()), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)
    for a, b in zip(model.ep_info_buffer, other.ep_info_buffer, strict=True):
        assert all(a[key] == pytest.approx(b[key], abs=1e-5) for key in "rlc")


@pytest.mark.parametrize("name", NAMES)
def test_compiled_training_has_the_numbers_of_the_wrappers(name):
    compiled = make(name).learn(STEPS)
    assert type(compiled._collector) is CompiledCollector
    early = name == "ppo_early"  # which has no wrapper for this VecEnv
    stepped = make(name, compiled=False) if early else make(name, VecCostMonitor(FunctionalVecEnv(ENV, 2, 0)))
    stepped.learn(STEPS)
    assert type(stepped._collector) is StepCollector
    assert_alike(compiled, stepped, rtol=2e-5)
    costs = [episode["c"] for episode in compiled.ep_info_buffer]
    assert max(costs) > 2
    if early:
        assert max(costs) == 3


@pytest.mark.parametrize(("name", "compiled"), [*((name, None) for name in NAMES), ("ppo_saute", False)])
def test_training_goes_on_exactly_with_the_budgets(name, compiled, tmp_path):
    class Save(BaseCallback):
        def _on_step(self):
            if self.num_timesteps == 42:
                self.model.save(tmp_path / "model")
            return True

    whole = make(name, compiled=compiled).learn(STEPS, callback=Save())
    loaded = type(whole).load(tmp_path / "model", env=ENV)
    assert loaded.num_timesteps == (48 if compiled is None else 32)  # the iteration's end, or its start
    loaded.learn(STEPS - loaded.num_timesteps, reset_num_timesteps=False)
    assert_alike(loaded, whole)


def test_observations_of_saute_are_in_its_space():
    env = make("ppo_saute").get_env()
    obs = env.reset()
    assert env.observation_space.contains(obs[0])
    assert obs[:, -1].tolist() == [1.0, 1.0]
    assert (
        env.observation_space
        == make("ppo_saute", VecCostMonitor(FunctionalVecEnv(ENV, 2, 0))).observation_space
    )
