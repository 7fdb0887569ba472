"""P3O, CRPO, the augmented Lagrangian and FOCOPS against independent NumPy versions on a recorded batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.constraints.augmented import make_augmented
from spi_plugins.constraints.cpo import make_cpo
from spi_plugins.constraints.crpo import make_crpo
from spi_plugins.constraints.focops import make_focops
from spi_plugins.constraints.method import Episodes, Samples
from spi_plugins.constraints.p3o import make_p3o

EPSILON = 0.2
LIMITS = np.array([5.0, 2.0])
RATIO = np.array([1.0, 1.5, 0.6, 1.1, 0.9, 3.0])
VALID = np.array([True, True, True, True, True, False])
ADVANTAGE = np.array([[1.0, -1.0], [2.0, 0.5], [-1.5, 1.0], [0.5, 0.0], [-2.0, -0.5], [9.0, 9.0]])
N = VALID.sum()


def samples(log_ratio=None):
    ratio = jnp.asarray(RATIO, jnp.float32) if log_ratio is None else jnp.exp(log_ratio)
    return Samples(ratio, jnp.asarray(ADVANTAGE, jnp.float32), jnp.asarray(VALID), jnp.float32(EPSILON))


def after(method, *costs, length=100.0):
    state = method.init(jnp.asarray(LIMITS, jnp.float32))
    update = jax.jit(method.update)
    for cost in costs:
        state = update(
            state, Episodes(jnp.asarray(cost, jnp.float32), jnp.float32(length)), jnp.asarray(LIMITS)
        )
    return state


def numpy_surrogate():
    """The mean over valid rows of the larger of both products, and its derivative by each row's log-ratio."""
    total, slopes = np.zeros(2), np.zeros((len(RATIO), 2))
    for b in np.flatnonzero(VALID):
        for k in range(2):
            plain = RATIO[b] * ADVANTAGE[b, k]
            clipped = min(max(RATIO[b], 1 - EPSILON), 1 + EPSILON) * ADVANTAGE[b, k]
            total[k] += max(plain, clipped)
            if plain >= clipped or 1 - EPSILON < RATIO[b] < 1 + EPSILON:
                slopes[b, k] = plain
    return total / N, slopes / N


def value_and_slopes(method, state):
    def loss(log_ratio):
        return method.penalty(state, samples(log_ratio))

    return jax.jit(jax.value_and_grad(loss))(jnp.asarray(np.log(RATIO), jnp.float32))


@pytest.mark.parametrize("costs", [(30.0, 0.0), (5.0, 90.0), (0.0, 0.0)])
def test_p3o_penalizes_the_surrogate_above_the_room_that_is_left(costs):
    method = make_p3o(kappa=7.0)
    value, slopes = value_and_slopes(method, after(method, costs))
    surrogate, derivative = numpy_surrogate()
    inside = surrogate + (np.array(costs) - LIMITS) / 100.0
    np.testing.assert_allclose(value, 7.0 * np.maximum(inside, 0).sum(), rtol=1e-5)
    np.testing.assert_allclose(slopes, 7.0 * derivative @ (inside > 0), rtol=1e-5, atol=1e-6)
    assert method.advantage(None, 3.0, None) == 3.0


@pytest.mark.parametrize("make", [make_p3o, make_cpo])
def test_a_gain_tightens_the_limit_by_the_excess_of_all_episodes_and_at_most_to_zero(make):
    costs = [(9.0, 2.5), (30.0, 2.1), (5.0, 0.5), (3.0, 2.0)]
    tightened = np.zeros(2)
    for cost in costs:
        tightened = np.minimum(np.maximum(tightened + 0.25 * (np.array(cost) - LIMITS), 0), LIMITS)
    assert (tightened > 0).any(), tightened
    found = after(make(gain=0.25), *costs).per_step
    np.testing.assert_allclose(
        found, (np.array(costs[-1]) - LIMITS + tightened) / 100.0, rtol=1e-5, atol=1e-7
    )
    published = after(make(), *costs).per_step
    np.testing.assert_allclose(published, (np.array(costs[-1]) - LIMITS) / 100.0, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ((5.4, 2.0), "reward"),  # within the tolerance
        ((5.6, 2.0), 0),
        ((9.0, 60.0), 1),  # the cost that is furthest above its limit
        ((0.0, 2.6), 1),
    ],
)
def test_crpo_takes_the_reward_or_the_worst_cost(costs, expected):
    method = make_crpo(tolerance=0.5)
    reward = np.arange(6.0)
    found = method.advantage(after(method, costs), jnp.asarray(reward), jnp.asarray(ADVANTAGE))
    np.testing.assert_allclose(found, reward if expected == "reward" else -ADVANTAGE[:, expected])


def test_before_the_first_episode_crpo_follows_the_reward():
    method = make_crpo()
    found = method.advantage(after(method), jnp.ones(6), jnp.asarray(ADVANTAGE))
    np.testing.assert_array_equal(found, np.ones(6))


def test_the_augmented_lagrangian_is_spowls_on_the_gap_of_an_episode():
    """Eq. 10 by hand: three rollouts, then psi of the fourth and its derivative."""
    method = make_augmented(multiplier_init=0.1, penalty_init=0.02, penalty_rate=0.5, multiplier_max=0.9)
    costs = [(30.0, 0.0), (15.0, 2.5), (9.0, 0.0), (7.0, 0.0)]
    multiplier, penalty = np.full(2, 0.1), np.full(2, 0.02)
    for cost in (LIMITS, *costs[:-1]):  # each update first raises by the gap before; the first is 0
        multiplier = np.clip(multiplier + penalty * (np.array(cost) - LIMITS), 0, 0.9)
        penalty = np.minimum(penalty * 1.5, 1.0)
    surrogate, derivative = numpy_surrogate()
    gap = np.array(costs[-1]) - LIMITS + 100.0 * (surrogate - ADVANTAGE[VALID].mean(axis=0))
    price = multiplier + penalty * gap
    psi = np.where(price > 0, multiplier * gap + penalty / 2 * gap**2, -(multiplier**2) / (2 * penalty))
    state = after(method, *costs)
    np.testing.assert_allclose(state.multipliers.multiplier, multiplier, rtol=1e-5, atol=1e-6)
    value, slopes = value_and_slopes(method, state)
    np.testing.assert_allclose(value, psi.sum() / 100.0, rtol=1e-4)
    np.testing.assert_allclose(slopes, derivative @ np.maximum(price, 0), rtol=1e-4, atol=1e-6)
    now = np.maximum(multiplier + penalty * (np.array(costs[-1]) - LIMITS), 0)
    np.testing.assert_allclose(method.multipliers(state), now, rtol=1e-5, atol=1e-6)


def test_focops_is_a_kl_penalty_on_near_states_only():
    method = make_focops(temperature=2.0, delta=0.1)
    kl = np.array([0.0, 0.05, 0.1, 0.11, 0.5, 0.02])
    utility = np.array([1.0, -2.0, 0.5, 3.0, 1.0, -1.0])
    expected = np.where(kl <= 0.1, kl - RATIO * utility / 2.0, 0.0)
    arguments = (jnp.asarray(x, jnp.float32) for x in (RATIO, utility, kl))
    np.testing.assert_allclose(method.surrogate(*arguments), expected, rtol=1e-6)
    prices = method.multipliers(after(method, *[(60.0, 0.0)] * 100))
    np.testing.assert_allclose(prices, [2.0, 0.0], atol=1e-6)  # the bound


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (make_p3o, {"kappa": 0}, "kappa must be a number above 0"),
        (make_crpo, {"distance": 2.0}, "unknown keys"),
        (make_augmented, {"penalty_init": 0.0}, "penalty_init must be a number above 0"),
        (make_focops, {"delta": -1.0}, "delta must be a number above 0"),
    ],
)
def test_settings_out_of_range_are_named(make, settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)
