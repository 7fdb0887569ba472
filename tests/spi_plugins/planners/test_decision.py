"""The decision between plan and policy, against NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.planners.decision import HeadValues, adaptive, bootstrap_interval, compare
from spi_plugins.planners.planner import Planner
from spi_plugins.planners.policy import make_policy
from spi_plugins.world_models.model import Model, ModelSpec, Step

interval = jax.jit(bootstrap_interval)
decide = jax.jit(compare, static_argnames="rule")


def interval_in_numpy(heads):
    """Percentiles of the means of all resamples, each of them listed."""
    means = [
        np.mean(chosen) for chosen in itertools.product(np.asarray(heads, np.float64), repeat=len(heads))
    ]
    return np.percentile(means, [2.5, 97.5])


def test_the_bounds_of_five_heads_are_the_exact_ones():
    np.testing.assert_allclose(interval(jnp.arange(5.0)), [0.8, 3.2], rtol=1e-6)


@pytest.mark.parametrize("n_heads", [1, 2, 3, 5, 6])
def test_the_bounds_are_the_percentiles_of_all_resamples(n_heads):
    heads = np.random.default_rng(n_heads).normal(size=n_heads).astype(np.float32)
    got = interval(heads)
    np.testing.assert_allclose(got, interval_in_numpy(heads), rtol=1e-4, atol=1e-6)


def test_random_resamples_scatter_around_the_bounds():
    rng = np.random.default_rng(0)
    means = rng.choice(5, (200, 1000, 5)).mean(axis=2)
    low, high = np.percentile(means, [2.5, 97.5], axis=1)
    got = interval(jnp.arange(5.0))
    assert abs(low.mean() - got[0]) < 0.04
    assert abs(high.mean() - got[1]) < 0.04


def test_the_bounds_of_many_heads_come_near_the_normal_ones():
    heads = np.random.default_rng(1).normal(size=20).astype(np.float32)
    low, high = interval(heads)
    spread = 1.96 * heads.std() / np.sqrt(20)
    np.testing.assert_allclose([low, high], heads.mean() + np.array([-spread, spread]), atol=0.15 * spread)


def test_the_bounds_of_one_head_are_its_value():
    assert [float(bound) for bound in interval(jnp.array([3.7]))] == [pytest.approx(3.7)] * 2


def decide_in_numpy(value, cost, rule):
    """``value`` and ``cost`` are pairs of (plan, policy); two heads of the critic, so that no draw matters."""
    if rule == "mean":
        return np.mean(value[0]) >= np.mean(value[1]) and np.mean(cost[0]) <= np.mean(cost[1])
    low, high = interval_in_numpy(value[1])[0], interval_in_numpy(cost[1])[1]
    return np.mean(value[0]) >= low and np.mean(cost[0]) <= high


@pytest.mark.parametrize("rule", ["bootstrap", "mean"])
def test_the_rules_decide_as_numpy_does(rule):
    rng, decisions = np.random.default_rng(2), []
    for _ in range(40):
        value, cost = rng.normal(size=(2, 2)).astype(np.float32), rng.normal(size=(2, 5)).astype(np.float32)
        expected = decide_in_numpy(value, cost, rule)
        assert (
            bool(decide(HeadValues(*value), HeadValues(*cost), jax.random.key(0), rule=rule).planned)
            == expected
        )
        decisions.append(expected)
    assert 5 < sum(decisions) < 35


def test_the_bootstrap_rule_reads_two_random_heads_of_the_plan():
    value = HeadValues(jnp.array([-100.0, 0.0, 0.0, 0.0, 0.0]), jnp.zeros(5))
    keys = jax.random.split(jax.random.key(0), 1000)
    planned = jax.jit(jax.vmap(lambda key: compare(value, None, key).planned))(keys)
    # The bad head is in 4 of the 10 pairs.
    assert np.mean(planned) == pytest.approx(0.6, abs=0.05)


def test_the_bootstrap_lets_pass_what_the_means_refuse():
    value = HeadValues(jnp.full(5, 1.5), jnp.arange(5.0))  # mean 2, lower bound 0.8
    cost = HeadValues(jnp.full(5, 2.5), jnp.arange(5.0))  # mean 2, upper bound 3.2
    key = jax.random.key(0)
    assert decide(value, cost, key, rule="bootstrap").planned
    assert not decide(value, None, key, rule="mean").planned
    good = HeadValues(jnp.full(5, 9.0), jnp.arange(5.0))
    assert decide(good, None, key, rule="mean").planned
    assert not decide(good, cost, key, rule="mean").planned


def test_equal_critics_accept_the_plan():
    above = np.nextafter(np.float32(0.3), np.float32(1.0))
    same = HeadValues(jnp.full(5, 0.3), jnp.full(5, above))  # but for rounding, either way
    for rule in ("bootstrap", "mean"):
        assert decide(same, HeadValues(*same[::-1]), jax.random.key(0), rule=rule).planned


def make_world(n_cost_values=3):
    """The critic of returns likes high actions, the critic of costs likes low ones; the policy does 0.2."""
    spec = ModelSpec(
        latent_shape=(1,),
        action_size=1,
        n_values=5,
        n_cost_values=n_cost_values,
        n_costs=2 if n_cost_values else 0,
    )

    def step(params, z, action, key):
        costs = jnp.array([1.0, 3.0])[: spec.n_costs]
        return Step(z, action[:, 0], costs[:, None] * jnp.ones_like(action.T), jnp.zeros(len(z)))

    def policy(params, z, key, *, deterministic):
        return jnp.full((len(z), 1), 0.2 if deterministic else 0.4)

    def critic(n):
        return lambda params, z, action, members: jnp.broadcast_to(params["sign"] * action.T, (n, len(z)))

    return Model(
        spec,
        lambda params, obs: obs,
        step,
        critic(5),
        (lambda *args: -critic(3)(*args)) if n_cost_values else None,
        policy,
    )


def always(action):
    """A planner of one action."""

    def plan(model, params, z, state, key, *, deterministic):
        return jnp.array([action]), state + 1, {"planned": jnp.ones(()), "value": jnp.float32(9.0)}

    return Planner("always", frozenset(), lambda spec: jnp.zeros(()), plan)


def act(planner, model, *, sign=1.0, deterministic=True):
    z, params = jnp.zeros(1), {"sign": jnp.float32(sign)}
    plan = jax.jit(lambda *args: planner.plan(model, params, *args, deterministic=deterministic))
    return plan(z, planner.init(model.spec), jax.random.key(0))


@pytest.mark.parametrize("rule", ["bootstrap", "mean"])
@pytest.mark.parametrize("n_cost_values", [0, 3])
def test_the_plan_is_executed_only_where_it_is_no_worse(rule, n_cost_values):
    model, planner = make_world(n_cost_values), adaptive(always(0.7), rule=rule)
    action, state, metrics = act(planner, model)
    assert action == pytest.approx(0.7)
    assert metrics["planned"] == 1.0
    action, state, metrics = act(planner, model, sign=-1.0)
    assert action == pytest.approx(0.2)
    assert metrics["planned"] == 0.0
    assert state == 1.0  # the plan goes on, though it was not executed
    assert metrics["value"] == 9.0
    assert metrics["value_low"] == pytest.approx(-0.2)
    assert ("cost_value_high" in metrics) == (n_cost_values > 0)
    if n_cost_values:
        assert metrics["cost_std"] == pytest.approx(1.0)


def test_while_exploring_the_policys_action_is_a_sample():
    action, _, _ = act(adaptive(always(0.7)), make_world(), sign=-1.0, deterministic=False)
    assert action == pytest.approx(0.4)


def test_what_it_wraps_stays_named_and_its_needs_grow():
    planner = adaptive(make_policy())
    assert planner.name == "adaptive(policy)"
    assert planner.requires == {"policy", "value"}


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"rule": "median"}, "rule must be one of 'bootstrap', 'mean', got 'median'"),
        ({"confidence": 1.0}, "confidence"),
    ],
)
def test_a_rule_that_does_not_exist_is_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        adaptive(make_policy(), **kwargs)
