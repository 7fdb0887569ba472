"""The trajectory estimate, against a NumPy version on a model whose every part can be computed by hand."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.planners.estimate import draw_heads, estimate, policy_sequences
from spi_plugins.world_models.model import Model, ModelSpec, Step

COST_HEADS = np.array([0.5, 1.0, 3.0], np.float32)
VALUE_HEADS = np.array([-2.0, 0.0, 1.0, 4.0, 7.0], np.float32)
COST_VALUE_HEADS = np.array([1.0, 2.0, 6.0], np.float32)
TERMINATED = 0.25


def make_model(*, has_policy=True, **changes):
    """z' = 0.9 z + a, reward sum(z) - a[0], cost of a head |a[0]| times its number, critics z[0] + head."""
    spec = ModelSpec(
        **{
            "latent_shape": (2,),
            "action_size": 2,
            "gamma": 0.9,
            "cost_gamma": 0.8,
            "n_costs": 3,
            "n_values": 5,
            "n_cost_values": 3,
            "has_termination": True,
            **changes,
        }
    )

    def step(params, z, action, key):
        n = len(z)
        heads = jnp.asarray(COST_HEADS[: spec.n_costs])
        return Step(
            0.9 * z + action,
            jnp.sum(z, axis=1) - action[:, 0],
            heads[:, None] * jnp.abs(action[:, 0])[None],
            jnp.full(n, TERMINATED if spec.has_termination else 0.0),
        )

    def critic(heads):
        def value(params, z, action, members):
            chosen = jnp.asarray(heads) if members is None else jnp.asarray(heads)[members]
            return chosen[:, None] + (z[:, 0] + action[:, 1])[None]

        return value

    return Model(
        spec=spec,
        encode=lambda params, obs: obs,
        step=step,
        value=critic(VALUE_HEADS[: spec.n_values]) if spec.n_values else None,
        cost_value=critic(COST_VALUE_HEADS) if spec.n_cost_values else None,
        policy=(lambda params, z, key, *, deterministic: 0.1 * z) if has_policy else None,
    )


def estimated(model, actions, key=0, **kwargs):
    """``estimate``, compiled: what a plan runs."""
    run = jax.jit(lambda z, actions, key: estimate(model, {}, z, actions, key, **kwargs))
    return run(Z, actions, jax.random.key(key))


def by_hand(model, z, actions, head_values, aggregate=np.mean):
    """One sequence after the other. ``head_values`` are the heads of the critic that count."""
    spec, results = model.spec, []
    for sequence in np.moveaxis(np.asarray(actions, np.float64), 1, 0):
        state, alive, value, cost, local = np.asarray(z, np.float64), 1.0, 0.0, 0.0, 0.0
        for t, action in enumerate(sequence):
            value += spec.gamma**t * alive * (state.sum() - action[0])
            if spec.n_costs:
                cost += spec.cost_gamma**t * alive * aggregate(COST_HEADS) * abs(action[0])
                local += alive * COST_HEADS.max() * abs(action[0])
            state = 0.9 * state + action
            alive *= 1 - TERMINATED if spec.has_termination else 1
        last = np.clip(0.1 * state, -1, 1) if model.policy is not None else sequence[-1]
        if spec.n_values:
            value += spec.gamma ** len(sequence) * alive * (np.mean(head_values) + state[0] + last[1])
        if spec.n_cost_values:
            tail = COST_VALUE_HEADS.mean() + state[0] + last[1]
            cost += spec.cost_gamma ** len(sequence) * alive * tail
        results.append((value, cost, local))
    return np.array(results).T


Z = jnp.array([0.3, -0.2])


def some_actions(horizon):
    return jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (horizon, 4, 2)), jnp.float32)


@pytest.mark.parametrize("horizon", [1, 3, 11])
@pytest.mark.parametrize("aggregation", ["mean", "max"])
def test_an_estimate_is_the_sum_that_its_formula_says(horizon, aggregation):
    model, actions = make_model(), some_actions(horizon)
    got = estimated(model, actions, 3, with_cost=True, cost_aggregation=aggregation)
    # Which two heads were drawn shows in the value; the rest is certain.
    pairs = list(itertools.combinations(VALUE_HEADS, 2))
    aggregate = np.max if aggregation == "max" else np.mean
    expected = [by_hand(model, Z, actions, pair, aggregate) for pair in pairs]
    matches = [np.allclose(got.value, values[0], atol=1e-4) for values in expected]
    assert any(matches)
    np.testing.assert_allclose(got.cost_value, expected[0][1], rtol=1e-5)
    np.testing.assert_allclose(got.local_cost, expected[0][2], rtol=1e-5)


@pytest.mark.parametrize(
    "lacks",
    [
        {"n_values": 0},
        {"n_cost_values": 0},
        {"n_costs": 0},
        {"has_policy": False},
        {"has_termination": False},
        {"n_values": 0, "n_cost_values": 0, "n_costs": 0, "has_policy": False, "has_termination": False},
    ],
    ids=lambda lacks: "+".join(lacks),
)
def test_parts_that_a_model_lacks_are_left_out(lacks):
    model, actions = make_model(**({"n_values": 2} | lacks)), some_actions(3)
    got = estimated(model, actions, with_cost=True)
    np.testing.assert_allclose(np.array(got), by_hand(model, Z, actions, VALUE_HEADS[:2]), atol=1e-5)


def test_without_costs_they_are_zero():
    got = estimated(make_model(), some_actions(3), with_cost=False)
    np.testing.assert_array_equal(got.cost_value, np.zeros(4))
    np.testing.assert_array_equal(got.local_cost, np.zeros(4))


def test_nan_counts_as_nothing_and_infinity_stays_finite():
    model = make_model(n_values=2)
    broken = model._replace(
        step=lambda params, z, action, key: model.step(params, z, action, key)._replace(
            reward=jnp.array([jnp.nan, jnp.inf, -jnp.inf, 0.0])
        )
    )
    value = estimated(broken, some_actions(1), with_cost=True).value
    assert value[0] == 0.0
    assert np.isfinite(value).all()
    assert value[1] > 1e38
    assert value[2] < -1e38


def test_the_policys_sequences_follow_the_models_predictions():
    model = make_model()
    taken = jax.jit(lambda z, key: policy_sequences(model, {}, z, 3, key))(Z[None], jax.random.key(0))
    state = np.asarray(Z)
    for action in np.asarray(taken)[:, 0]:
        np.testing.assert_allclose(action, 0.1 * state, rtol=1e-6)
        state = 0.9 * state + action


def test_the_actions_of_a_policy_that_went_wrong_do_not_spread():
    model = make_model()._replace(
        policy=lambda params, z, key, *, deterministic: jnp.full(z.shape, jnp.nan).at[:, 1].set(7.0)
    )
    own = jax.jit(lambda key: policy_sequences(model, {}, jnp.zeros((4, 2)), 3, key))
    np.testing.assert_array_equal(own(jax.random.key(0)), np.broadcast_to([0.0, 1.0], (3, 4, 2)))


def test_every_pair_of_heads_is_drawn_alike_often():
    pairs = jax.jit(jax.vmap(lambda key: draw_heads(key, 5)))(jax.random.split(jax.random.key(0), 8000))
    first, second = np.sort(np.asarray(pairs), axis=1).T
    assert (first < second).all()
    counts = np.bincount(first * 5 + second, minlength=25)[counts_of_pairs()]
    np.testing.assert_allclose(counts / 8000, 0.1, atol=0.012)


def counts_of_pairs():
    return [i * 5 + j for i, j in itertools.combinations(range(5), 2)]


def test_of_two_heads_both_count():
    assert draw_heads(jax.random.key(0), 2) is None
