"""``neighborhood="strict"``: no ratio leaves the band, on both paths, and exact advantages improve monotonically."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_models import CARTPOLE, tiny_deep_spi

from spi_plugins import DeepSPI
from spi_plugins.agents.deep_spi.config import DeepSPIConfig
from spi_plugins.agents.deep_spi.update import make_deep_spi
from spi_plugins.certificates import finite
from spi_plugins.certificates.tabular import ratios
from spi_plugins.envs.confounding_grid import make_confounding_grid
from spi_plugins.envs.confounding_grid_exact import exact_model, start_value
from spi_plugins.losses.ppo import ClipRanges
from spi_plugins.networks.actor_critic import ActorCriticConfig
from spi_plugins.types import Rollout
from spi_plugins.world_models.deep_mdp_networks import DeepMDPConfig

C = 1.02


# Without a world model, which the neighborhood does not touch, the program compiles in a third of the time.
STRICT = {
    "neighborhood": "strict",
    "C": C,
    "learning_rate": 0.02,
    "reward_loss_coef": 0.0,
    "transition_loss_coef": 0.0,
}


@pytest.mark.parametrize("path", ["compiled", pytest.param("stepped", marks=pytest.mark.slow)])
def test_no_ratio_of_the_batch_leaves_the_band_and_a_run_resumes(path, tmp_path):
    model = tiny_deep_spi(path, **STRICT)
    kept = []
    for _ in range(6):
        model.learn(8, reset_num_timesteps=False)
        logged = model.logger.name_to_value
        assert logged["train/neighborhood_max"] <= C * (1 + 1e-6)
        assert logged["train/neighborhood_min"] >= (2 - C) * (1 - 1e-6)
        assert logged["train/walked_back"] == (logged["train/step_kept"] < 1)
        kept.append(logged["train/step_kept"])
    assert 0 < min(kept) < 1  # some updates were too large, none was lost whole
    if path == "stepped":
        return
    model.save(tmp_path / "model.zip")
    resumed = DeepSPI.load(tmp_path / "model.zip", env=CARTPOLE)
    for each in (model, resumed):
        each.learn(8, reset_num_timesteps=False)
    assert model.logger.name_to_value["train/fresh_max"] == resumed.logger.name_to_value["train/fresh_max"]
    for name, group in model.get_parameters().items():
        for key, value in group.items():
            np.testing.assert_array_equal(value, resumed.get_parameters()[name][key])


def test_what_has_no_neighborhood_is_refused():
    with pytest.raises(ValueError, match="needs discrete actions, but these are a Box"):
        DeepSPI("MlpPolicy", "Pendulum-v1", neighborhood="strict")
    with pytest.raises(ValueError, match=r"C=1\.1 needs neighborhood='strict'"):
        tiny_deep_spi(C=1.1)
    with pytest.raises(ValueError, match="gamma below 1"):
        tiny_deep_spi(neighborhood="strict", C="1/gamma", gamma=1.0)
    with pytest.raises(ValueError, match="C must be a number above 1 and below 2"):
        tiny_deep_spi(neighborhood="strict", C=2.5)


def exact_rollout(tables, policy, rng, n_rows=4096):
    """Rows of the policy's own visits; with ``gae_lambda=0`` and exact values their advantages are exact.

    At the fork alone the successor is random, but there every action is the same.
    """
    mdp = finite.FiniteMDP(tables.transition, tables.reward, np.eye(len(policy))[tables.start], tables.gamma)
    visits = finite.visits(mdp, policy, tables.gamma).ravel()
    state, action = divmod(rng.choice(visits.size, size=n_rows, p=visits / visits.sum()), policy.shape[1])
    values = finite.values(mdp, policy)
    value_after = np.einsum("nx,x->n", tables.transition[state, action], values)
    rows = functools.partial(jnp.asarray, dtype=jnp.float32)
    no = jnp.zeros((1, n_rows), bool)
    return Rollout(
        obs=jnp.asarray(np.stack([state, state]), jnp.int32),
        action=jnp.asarray(action[None], jnp.int32),
        log_prob=rows(np.log(policy[state, action])[None]),
        value=rows(np.stack([values[state], value_after])),
        reward=rows(tables.reward[state, action][None]),
        terminated=no,
        truncated=no,
        valid=~no,
        final_obs=None,
        final_value=None,
    )


def test_strict_updates_with_exact_advantages_improve_monotonically():
    env = make_confounding_grid(2, gamma=0.8, size=None)
    tables = exact_model(env)
    config = DeepSPIConfig(
        gamma=0.8, gae_lambda=0.0, batch_size=4096, n_epochs=4, ent_coef=0.0, auxiliary="none",
        neighborhood="strict", C="1/gamma", normalize_advantage=False,
    )  # fmt: skip
    networks = ActorCriticConfig(encoder="mlp", pi=(), vf=())
    agent = make_deep_spi(env.observation_spec, env.action_spec, networks, config, DeepMDPConfig())
    states = jnp.arange(len(tables.reward), dtype=jnp.int32)

    def policy_of(params):
        features = agent.policy.features(params["policy"], states)
        logits = agent.policy.evaluate(params["policy"], states, features, features).parameters
        return np.asarray(jax.nn.softmax(logits), np.float64)

    update = jax.jit(agent.update)
    state, rng = jax.jit(agent.init)(jax.random.key(0)), np.random.default_rng(0)
    policy = policy_of(state.params)
    policy /= policy.sum(axis=1, keepdims=True)
    first = last = start_value(tables, policy)
    walked = 0
    for _ in range(40):
        state, metrics = update(state, exact_rollout(tables, policy, rng), 0.1, ClipRanges(0.1))
        new = policy_of(state.params)
        new /= new.sum(axis=1, keepdims=True)
        walked += int(metrics.walked_back)
        assert ratios(policy, new).largest <= 1.25 * (1 + 1e-5)
        now = start_value(tables, new)
        assert now >= last - 1e-6
        policy, last = new, now
    assert walked >= 5
    assert last > first + 1.0
