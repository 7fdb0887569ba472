"""Discrete actions in policies and plans, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.action_heads import Proposal, box_head, discrete_head
from spi_plugins.planners.mppi import make_mppi
from spi_plugins.planners.refit import weighted_moments
from spi_plugins.world_models.model import Model, ModelSpec, Step

NVEC = (2, 3)
HEAD = discrete_head(NVEC, (2,))
PARAMETERS = np.array([[0.3, -1.0, 2.0, 0.0, -0.5]], np.float32)


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


PROBS = np.concatenate([softmax(PARAMETERS[0, :2]), softmax(PARAMETERS[0, 2:])])


def test_draws_have_the_policys_probabilities_and_its_entropy():
    rows = jnp.broadcast_to(jnp.asarray(PARAMETERS), (20_000, 5))
    vectors, negative_entropy = HEAD.sample(rows, jax.random.key(0))
    assert set(np.unique(np.round(vectors, 5))) == {0.0, 1.0}
    np.testing.assert_allclose(np.mean(vectors, axis=0), PROBS, atol=0.015)
    np.testing.assert_allclose(negative_entropy[0], np.sum(PROBS * np.log(PROBS)), rtol=1e-5)


def test_the_gradient_goes_straight_through_the_draw_to_the_probabilities():
    weights = np.array([1.0, -2.0, 0.5, 3.0, -1.0], np.float32)
    gradient = jax.grad(lambda p: jnp.sum(HEAD.sample(p, jax.random.key(1))[0] * weights[None]))(
        jnp.asarray(PARAMETERS)
    )
    expected = [p * (w - p @ w) for p, w in zip(np.split(PROBS, [2]), np.split(weights, [2]), strict=True)]
    np.testing.assert_allclose(gradient[0], np.concatenate(expected), atol=1e-5)


def test_actions_are_vectors_and_numbers_in_a_buffer_and_back():
    actions = jnp.array([[1, 2], [0, 1]], jnp.int32)
    vectors = HEAD.vector(actions)
    np.testing.assert_array_equal(vectors, [[0, 1, 0, 0, 1], [1, 0, 0, 1, 0]])
    np.testing.assert_array_equal(HEAD.action(vectors), actions)
    np.testing.assert_array_equal(HEAD.restored(actions.astype(jnp.float32)), actions)
    assert HEAD.vector(vectors) is vectors
    single = discrete_head((3,), ())
    np.testing.assert_array_equal(single.vector(jnp.int32([2, 0])), [[0, 0, 1], [1, 0, 0]])
    assert single.restored(jnp.array([[2.0], [0.0]])).shape == (2,)
    assert sorted(set(np.asarray(single.uniform(100, jax.random.key(0))).tolist())) == [0, 1, 2]


def test_elites_become_probabilities_of_which_none_is_zero():
    actions = jnp.array([[[0, 2], [1, 2], [1, 0]]], jnp.int32)  # one step of three sequences
    fitted = weighted_moments(HEAD.vector(actions), jnp.array([0.2, 0.5, 0.3]))
    np.testing.assert_allclose(fitted.mean, [[0.2, 0.8, 0.3, 0.0, 0.7]], atol=1e-6)
    widened = HEAD.widened(fitted, 0.05, 2.0).mean[0]
    np.testing.assert_allclose(widened, [0.2, 0.8, *np.array([0.3, 0.05, 0.7]) / 1.05], atol=1e-6)
    drawn = HEAD.vector(HEAD.draw(Proposal(widened[None], fitted.std), 20_000, jax.random.key(2)))
    np.testing.assert_allclose(drawn.mean(axis=(0, 1)), widened, atol=0.015)


def test_a_decision_begins_with_half_of_the_last_plan_and_uniformly_where_there_is_none():
    start = HEAD.start(jnp.array([[0.0, 1.0, 0.5, 0.5, 0.0], [0.0] * 5]), 2.0)
    third = 1 / 3
    np.testing.assert_allclose(
        start.mean[0], [0.25, 0.75, (0.5 + third) / 2, (0.5 + third) / 2, third / 2], rtol=1e-5
    )
    np.testing.assert_allclose(start.mean[1], [0.5, 0.5, third, third, third], rtol=1e-5)


def test_actions_of_a_box_stay_within_bounds_and_without_nan():
    np.testing.assert_array_equal(box_head(3).bounded(jnp.array([2.0, jnp.nan, -0.5])), [1.0, 0.0, -0.5])


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_plan_finds_the_sequence_that_pays_only_as_a_whole(deterministic):
    """The latent counts right actions, and only the last of three pays: no single action is better than another."""
    right = jnp.array([[1, 2], [0, 1], [1, 0]], jnp.int32)
    spec = ModelSpec(latent_shape=(2,), action_size=5, nvec=NVEC, action_shape=(2,), horizon=3, gamma=1.0)

    def step(params, z, action, key):
        t = z[:, 0].astype(jnp.int32)
        so_far = z[:, 1] + jnp.all(action == right.at[t].get(mode="clip"), axis=1)
        reward = jnp.where((t == 2) & (so_far == 3), 100.0, 0.0)
        return Step(
            jnp.stack([z[:, 0] + 1, so_far], axis=1), reward, jnp.zeros((0, len(z))), jnp.zeros(len(z))
        )

    model = Model(spec, lambda params, obs: obs, step)
    planner = make_mppi(num_samples=1000, num_prior=0, num_elites=4, iterations=3, min_std=0.01)
    decide = jax.jit(planner.plan, static_argnums=0, static_argnames="deterministic")
    found = [
        decide(model, {}, jnp.zeros(2), planner.init(spec), jax.random.key(seed), deterministic=deterministic)
        for seed in range(8)
    ]
    right_ones = [bool(jnp.all(action == right[0])) for action, _, _ in found]
    assert np.mean(right_ones) >= (1.0 if deterministic else 0.75)
    assert found[0][0].dtype == jnp.int32
