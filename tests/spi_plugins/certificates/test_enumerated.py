"""Networks read as tables, and exact certificates of updates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.agents.deep_spi.config import DeepSPIConfig
from spi_plugins.agents.deep_spi.update import make_deep_spi
from spi_plugins.certificates import finite, tabular
from spi_plugins.certificates.enumerated import NetworkTables, certify_update, read_networks
from spi_plugins.certificates.finite import FiniteMDP
from spi_plugins.envs.confounding_grid import make_confounding_grid
from spi_plugins.envs.constrained import limited
from spi_plugins.networks.actor_critic import ActorCriticConfig
from spi_plugins.world_models.deep_mdp_networks import DeepMDPConfig

ENV = make_confounding_grid(2, size=None, gamma=0.8)
TABLES = ENV.tables(ENV.params)
MDP = finite.without_terminal(FiniteMDP(*TABLES[1:4], 0.8), TABLES.terminal)


def test_the_grid_has_tables_of_itself_and_what_is_made_from_it_has_none():
    np.testing.assert_array_equal(TABLES.observations, np.arange(10))
    right = np.eye(4)[np.full(10, 3)]  # RIGHT everywhere pays 1 in two cells, after two steps without pay
    assert finite.value(MDP, right) == pytest.approx(0.8**2 + 0.8**3)
    assert limited(ENV, limit=1.0, reward=None).tables is None


def test_networks_are_read_state_by_state():
    agent = make_deep_spi(
        ENV.observation_spec,
        ENV.action_spec,
        ActorCriticConfig(encoder="mlp", pi=(3,), vf=(3,)),
        DeepSPIConfig(),
        DeepMDPConfig(transition_density="deterministic", transition_hidden=(4,), reward_hidden=(4,)),
    )
    states = jnp.asarray(TABLES.observations)

    @jax.jit
    def read(key):
        params = agent.init(key).params
        found = read_networks(agent.policy, agent.world_model, params, states, key)
        z, rows = jnp.repeat(found.latent, 4, axis=0), jnp.tile(jnp.arange(4), 10)
        world = agent.world_model, params["world_model"]
        _, log_prob, _ = agent.evaluate(params, jnp.repeat(states, 4), rows)
        return found, log_prob, world[0].predict(world[1], z, rows, None), world[0].reward(world[1], z, rows)

    found, log_prob, predicted, reward = jax.tree.map(np.asarray, read(jax.random.key(0)))
    np.testing.assert_allclose(found.policy.reshape(-1), np.exp(log_prob), rtol=1e-4)
    np.testing.assert_allclose(found.policy.sum(axis=-1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(found.reward.reshape(-1), reward, rtol=1e-4, atol=1e-6)
    nearest = ((predicted[:, None] - found.latent[None]) ** 2).sum(axis=-1).argmin(axis=-1)
    np.testing.assert_array_equal(found.transition.reshape(40, 10).argmax(axis=-1), nearest)
    np.testing.assert_array_equal(found.transition.max(axis=-1), 1.0)


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_certified_bounds_are_below_the_exact_improvement(noise):
    rng, said = np.random.default_rng(0), 0
    for _ in range(50):
        old = rng.dirichlet(np.full(4, 5.0), size=10)
        new = tabular.project(old, rng.dirichlet(np.ones(4), size=10), 1.1)
        wrong = rng.dirichlet(np.full(10, 0.3), size=(10, 4))
        model = (1 - noise) * TABLES.transition + noise * wrong
        before, after = (
            NetworkTables(np.log(p), np.zeros((10, 1)), model, TABLES.reward) for p in (old, new)
        )
        found = certify_update(MDP, TABLES.terminal, before, after)
        true = found["exact_improvement"].value
        assert true == pytest.approx(float(finite.value(MDP, new) - finite.value(MDP, old)))
        for name in ("exact_bound", "exact_bound_theorem", "exact_bound_model_free"):
            assert found[name].value <= true + 1e-9
        assert found["exact_ratio_max"].value <= 1.1 + 1e-9
        assert found["exact_L_R"].value == pytest.approx(0.0, abs=1e-12)
        if noise == 0:
            assert found["exact_bound_theorem"].value == pytest.approx(true)
        said += found["exact_bound"].void is None and found["exact_bound"].vacuity < 1
    assert said > 25  # of 50 are not vacuous


def test_without_a_model_there_are_no_bounds_of_it_and_unbounded_ratios_are_void():
    old = np.full((10, 4), 0.25)
    tables = [NetworkTables(np.log(p), np.zeros((10, 1)), None, None) for p in (old, old)]
    found = certify_update(MDP, TABLES.terminal, *tables, assumptions=("the earth is flat",))
    assert "exact_bound" not in found
    assert found["exact_improvement"].value == 0
    assert found["exact_improvement"].assumptions == ("the tables are the process", "the earth is flat")
