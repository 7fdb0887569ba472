"""A world model fitted to a data set, and a planner in it, without an agent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from spi_plugins import PlannerPolicy, buffers
from spi_plugins.fitting.fit import fit
from spi_plugins.fitting.tdmpc import make_tdmpc_world
from spi_plugins.types import ActionSpec, ArraySpec
from spi_plugins.world_models.model import FittedModel, ModelSpec

OBSERVATIONS = ArraySpec(kind="box", shape=(3,), dtype="float32", low=-8.0, high=8.0)
ACTIONS = ActionSpec(kind="box", shape=(1,), low=(-2.0,), high=(2.0,))
SIZES = {"encoder_hidden": (16,), "latent_dim": 16, "hidden": (16,), "n_values": 2, "n_costs": 2}
WORLD = make_tdmpc_world(OBSERVATIONS, ACTIONS, **SIZES)


@pytest.fixture(scope="module")
def data():
    """Steps whose reward is the action's negative square and whose cost is 1 where the observation is positive."""
    buffer, rng = buffers.init(OBSERVATIONS, 1, 4, 60), np.random.default_rng(0)
    add = jax.jit(buffers.add, donate_argnums=0)
    no = np.zeros(4, bool)
    for _ in range(60):
        obs = rng.normal(size=(4, 3)).astype(np.float32)
        action = rng.uniform(-1, 1, (4, 1)).astype(np.float32)
        cost = (obs[:, 0] > 0).astype(np.float32)
        buffer = add(buffer, buffers.Slot(obs, action, -(action[:, 0] ** 2), cost, no, no, ~no), ~no)
    return buffer


@pytest.fixture(scope="module")
def fitted(data):
    params, losses = fit(WORLD, data, jax.random.key(0), n_updates=800, learning_rate=3e-3)
    return FittedModel(WORLD.model, params, OBSERVATIONS, ACTIONS), losses


def test_the_fitted_model_knows_the_reward(fitted):
    world, losses = fitted
    model, n = world.model, 200
    obs = jax.random.normal(jax.random.key(1), (n, 3))
    action = jax.random.uniform(jax.random.key(2), (n, 1), minval=-1.0)
    step = model.step(world.params, model.encode(world.params, obs), action, jax.random.key(3))
    assert np.corrcoef(step.reward, -(action[:, 0] ** 2))[0, 1] > 0.7
    assert losses["reward_loss"] < 2.5  # ln 101 = 4.6 untrained


def test_a_planner_in_it_is_a_policy(fitted):
    policy = PlannerPolicy(fitted[0], "cem", num_samples=32, num_elites=8, iterations=3)
    obs = np.zeros((5, 3), np.float32)
    action, plans = policy.predict(obs, deterministic=True)
    assert action.shape == (5, 1)
    assert np.abs(action).max() < 0.8  # the best is 0, the bounds are 2
    again, _ = policy.predict(obs, deterministic=True)
    np.testing.assert_array_equal(action, again)
    one, _ = policy.predict(obs[0], state=jax.tree.map(lambda x: x[:1], plans))
    assert one.shape == (1,)
    mean, _ = evaluate_policy(policy, make_vec_env("Pendulum-v1", n_envs=2), n_eval_episodes=2)
    assert np.isfinite(mean)


def test_what_cannot_be_fitted_or_planned_in_is_refused(fitted, data):
    with pytest.raises(ValueError, match="no 4 consecutive slots"):
        fit(WORLD, buffers.init(OBSERVATIONS, 1, 4, 60), jax.random.key(0))
    with pytest.raises(ValueError, match="n_updates must be at least 1, got 0"):
        fit(WORLD, data, jax.random.key(0), n_updates=0)
    world = fitted[0]
    spec = ModelSpec(latent_shape=(16,), action_size=1)
    with pytest.raises(ValueError, match="'safe_improvement' needs a model with cost"):
        PlannerPolicy(world._replace(model=world.model._replace(spec=spec)), "safe_improvement")


def test_parameters_may_be_swapped_without_a_retrace(fitted):
    policy = PlannerPolicy(fitted[0], "policy")
    first, _ = policy.predict(np.ones(3, np.float32), deterministic=True)
    params = jax.tree.map(jnp.zeros_like, fitted[0].params)
    policy.world_model = policy.world_model._replace(params=params)
    second, _ = policy.predict(np.ones(3, np.float32), deterministic=True)
    assert first != second
    assert policy._jitted._cache_size() == 1
