"""The predicted end of episodes in the model, the loss, and plans."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.agents.spowl.config import SPOWLConfig
from spi_plugins.algorithms.planning_metrics import shown
from spi_plugins.losses.tdmpc import termination_loss
from spi_plugins.planners.estimate import estimate
from spi_plugins.types import ActionSpec, ArraySpec
from spi_plugins.world_models.tdmpc import make_tdmpc
from spi_plugins.world_models.tdmpc_networks import TDMPCConfig

CONFIG = TDMPCConfig(
    encoder_hidden=(8,), latent_dim=8, hidden=(8,), n_bins=11, n_values=2, n_costs=2, episodic=True
)


@pytest.fixture(scope="module")
def world():
    observations = ArraySpec(kind="box", shape=(3,), dtype="float32")
    return make_tdmpc(observations, ActionSpec(kind="box", shape=(2,), low=(-1, -1), high=(1, 1)), CONFIG)


@pytest.fixture(scope="module")
def params(world):
    """Random parameters, the zero-initialized last layers included."""
    leaves, tree = jax.tree.flatten(world.init(jax.random.key(0)))
    keys = jax.random.split(jax.random.key(1), len(leaves))
    drawn = [x + 0.3 * jax.random.normal(key, x.shape) for key, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(tree, drawn)


def test_the_loss_is_the_binary_cross_entropy_of_valid_steps():
    logits = np.array([[2.0, -1.0, 30.0], [0.0, -40.0, 3.0]], np.float32)
    ended = np.array([[True, False, False], [True, True, False]])
    valid = np.array([[True, True, False], [True, True, True]])
    p = 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))
    entropies = -np.where(ended, np.log(p), np.log1p(-p))
    found = termination_loss(jnp.asarray(logits), jnp.asarray(ended), jnp.asarray(valid))
    np.testing.assert_allclose(found, entropies[valid].mean(), rtol=1e-6)


def test_a_step_tells_the_probability_that_the_next_latent_is_terminal(world, params):
    z, action = jax.random.uniform(jax.random.key(2), (4, 8)), jnp.zeros((4, 2))
    step = world.model.step(params, z, action, None)
    np.testing.assert_allclose(
        step.terminated, jax.nn.sigmoid(world.termination(params, step.next_z)), rtol=1e-6
    )
    assert world.spec.has_termination
    assert np.ptp(step.terminated) > 1e-3


def test_what_follows_a_predicted_end_does_not_count_in_plans(world, params):
    """With the end certain, a plan is worth its first reward and costs its first cost; with it ruled out, all of it."""
    actions = jax.random.uniform(jax.random.key(3), (3, 5, 2), minval=-1.0)
    z = jax.random.uniform(jax.random.key(4), (8,))

    def estimated(bias):
        head = {**params["termination"], "bias1": jnp.full(1, bias)}
        head["kernel1"] = jnp.zeros_like(head["kernel1"])
        return estimate(
            world.model, {**params, "termination": head}, z, actions, jax.random.key(5), with_cost=True
        )

    first = world.model.step(params, jnp.broadcast_to(z, (5, 8)), actions[0], None)
    ended, open_end = estimated(100.0), estimated(-100.0)
    np.testing.assert_allclose(ended.value, first.reward, rtol=1e-5)
    np.testing.assert_allclose(ended.cost_value, first.cost.mean(axis=0), rtol=1e-5)
    assert np.all(np.abs(open_end.value - ended.value) > 1e-3)


def test_an_agent_that_does_not_predict_ends_warns_where_episodes_end():
    class Metrics(dict):
        termination_rate = 0.25
        _asdict = dict.copy

    metrics = Metrics(termination_loss=0.0, termination_rate=0.25, model_loss=1.0)
    with pytest.warns(UserWarning, match="episodic=True"):
        assert shown(metrics, SPOWLConfig()) == {"model_loss": 1.0}
    episodic = shown(metrics, SPOWLConfig(model=TDMPCConfig(episodic=True)))
    assert episodic == {"termination_loss": 0.0, "termination_rate": 0.25, "model_loss": 1.0}
