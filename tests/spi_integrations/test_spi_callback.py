"""``SPICallback``: what it logs, and that training does not notice."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from stable_baselines3 import A2C
from stable_baselines3.common.logger import KVWriter, Logger
from tiny_models import CARTPOLE, tiny_deep_spi, tiny_ppo

from spi_integrations.stable_baselines3 import SPICallback
from spi_integrations.stable_baselines3.behavior import play
from spi_integrations.stable_baselines3.update_report import _unbounded, current_parameters
from spi_plugins.agents.deep_spi.config import DeepSPIConfig
from spi_plugins.agents.deep_spi.update import make_deep_spi
from spi_plugins.algorithms.vec_envs import FunctionalVecEnv
from spi_plugins.networks.actor_critic import ActorCriticConfig
from spi_plugins.world_models.deep_mdp_networks import DeepMDPConfig


class Written(KVWriter):
    def __init__(self):
        self.rows = []

    def write(self, key_values, key_excluded, step=0):
        self.rows.append(dict(key_values))

    def close(self):
        """Nothing is open."""


def eval_env():
    return FunctionalVecEnv(CARTPOLE, 2, seed=1)


def test_diagnostics_are_logged_and_training_does_not_notice():
    alone, watched = (tiny_deep_spi("compiled", termination_model=True) for _ in range(2))
    callback = SPICallback(eval_env(), every=2, n_episodes=4, return_range=(0.0, 9.0))
    written = Written()
    watched.set_logger(Logger(None, [written]))
    alone.learn(32)
    watched.learn(32, callback=callback)
    for name, group in alone.get_parameters().items():
        for key, value in group.items():
            np.testing.assert_array_equal(value, watched.get_parameters()[name][key])
    logged = next(row for row in written.rows if "spi/L_R" in row)
    assert logged["spi/ratio_max"] >= 1 >= logged["spi/ratio_min"]
    assert logged["spi/L_R"] > 0
    assert 1 <= logged["spi/episode_length"] <= 9
    entries = callback.last.entries
    assert "cannot be known" in entries["improvement"].caveat
    assert entries["new_return"].confidence == 0.95


def test_episodes_are_whole_and_each_copy_plays_its_share():
    model = tiny_ppo("stepped")
    found = play(model, current_parameters(model), eval_env(), 5)
    assert found.episode.max() == 4
    ends = np.flatnonzero(np.diff(found.episode, append=5))
    np.testing.assert_array_equal(found.returns, np.bincount(found.episode))  # a reward of 1 for each step
    assert set(np.bincount(found.episode)) <= {8, 9}
    assert len(ends) == 5
    np.testing.assert_allclose(found.discounted_returns(0.5), 2 * (1 - 0.5**found.returns))


def test_other_algorithms_are_refused():
    with pytest.raises(TypeError, match="DeepSPI, DeepMDP and PPO of this package, not A2C"):
        A2C("MlpPolicy", eval_env(), n_steps=2).learn(4, callback=SPICallback(eval_env()))
    with pytest.raises(ValueError, match="max_share must be above 0"):
        SPICallback(eval_env(), max_share=0.0)


@pytest.mark.parametrize(
    ("bound", "activation", "lipschitz", "reason"),
    [
        (None, "gelu", True, "gelu is steeper than 1"),
        (1.0, "gelu", True, None),
        (None, "tanh", True, None),
        (1.0, "tanh", False, "lipschitz=False"),
    ],
)
def test_constants_without_a_bound_say_why(bound, activation, lipschitz, reason):
    agent = make_deep_spi(
        CARTPOLE.observation_spec,
        CARTPOLE.action_spec,
        ActorCriticConfig(encoder="mlp", pi=(4,), vf=(4,), activation=activation, actor_lipschitz=bound),
        DeepSPIConfig(),
        DeepMDPConfig(lipschitz=lipschitz),
    )
    layer = {"kernel": jnp.eye(4)}
    policy = {"pi": {"dense0": layer}, "actor": {"dense": layer}}
    found = _unbounded(SimpleNamespace(agent=agent), {"policy": policy})
    assert found is None if reason is None else reason in found
