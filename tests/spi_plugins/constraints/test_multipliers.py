"""The multipliers of ``lagrangian`` and ``pid`` against independent NumPy versions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.constraints.lagrangian import make_lagrangian
from spi_plugins.constraints.method import Episodes
from spi_plugins.constraints.pid import make_pid

LIMITS = np.array([5.0, 2.0])
COSTS = np.array([[30.0, 0.0], [22.0, 1.0], [9.0, 3.5], [4.0, 2.5], [0.0, 2.0], [6.0, 6.0]])


def prices(method, costs=COSTS):
    update = jax.jit(method.update)
    state, found = method.init(jnp.asarray(LIMITS, jnp.float32)), []
    for cost in costs:
        state = update(state, Episodes(jnp.asarray(cost, jnp.float32), jnp.float32(100)), jnp.asarray(LIMITS))
        found.append(np.asarray(method.multipliers(state)))
    return np.array(found), state


def test_gradient_ascent_moves_by_the_excess_and_stays_in_its_bounds():
    found, _ = prices(make_lagrangian(optimizer="sgd", lr=0.02, init=0.3, max=0.9))
    price, expected = np.full(2, 0.3), []
    for cost in COSTS:
        price = np.clip(price + 0.02 * (cost - LIMITS), 0.0, 0.9)
        expected.append(price)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.max() == np.float32(0.9)
    assert found.min() < 0.27


def test_by_default_the_multiplier_moves_as_omnisafes():
    """Adam with rate 0.035 from 0.001 on the loss ``-λ (J - d)``, and a clamp at 0."""
    found, _ = prices(make_lagrangian())
    price, mean, square, expected = np.full(2, 0.001), np.zeros(2), np.zeros(2), []
    for t, cost in enumerate(COSTS, 1):
        gradient = -(cost - LIMITS)
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        step = (mean / (1 - 0.9**t)) / (np.sqrt(square / (1 - 0.999**t)) + 1e-8)
        price = np.maximum(price - 0.035 * step, 0.0)
        expected.append(price)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


def test_the_controller_equals_an_independent_version():
    gains = {
        "kp": 0.1,
        "ki": 0.01,
        "kd": 0.5,
        "ema_p": 0.6,
        "ema_d": 0.7,
        "delay": 2,
        "init": 0.02,
        "max": 1.5,
    }
    found, _ = prices(make_pid(**gains))
    expected = np.empty_like(found)
    for k, limit in enumerate(LIMITS):
        error, integral, smooth = 0.0, 0.02, [0.0, 0.0]
        for t, cost in enumerate(COSTS[:, k]):
            error = 0.6 * error + 0.4 * (cost - limit)
            integral = min(max(integral + 0.01 * (cost - limit), 0.0), 1.5)
            smooth.append(0.7 * smooth[-1] + 0.3 * cost)
            rise = max(smooth[-1] - smooth[-3], 0.0)  # two updates ago
            expected[t, k] = min(max(0.1 * error + integral + 0.5 * rise, 0.0), 1.5)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert found.max() == 1.5


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("make", [make_lagrangian, make_pid])
def test_the_advantage_is_priced(make, normalize):
    method = make(normalize=normalize)
    found, state = prices(method)
    reward, cost = np.array([1.0, -2.0, 0.5]), np.array([[1.0, 0.0], [-1.0, 2.0], [0.0, 3.0]])
    expected = reward - cost @ found[-1]
    if normalize:
        expected = expected / (1 + found[-1].sum())
    utility = method.advantage(state, jnp.asarray(reward, jnp.float32), jnp.asarray(cost, jnp.float32))
    np.testing.assert_allclose(utility, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (make_lagrangian, {"lr": 0.0}, "lr must be a number above 0, got 0.0"),
        (make_lagrangian, {"optimizer": "rmsprop"}, "optimizer must be one of 'adam', 'sgd'"),
        (make_lagrangian, {"init": 2.0, "max": 1.0}, r"init=2.0 must be at most max=1.0"),
        (make_lagrangian, {"limit": 2.0}, r"constraint_kwargs of 'lagrangian' has unknown keys \['limit'\]"),
        (make_pid, {"kp": 0, "ki": 0, "kd": 0}, "never move"),
        (make_pid, {"ema_p": 1.0}, "ema_p must be a number at least 0 and below 1, got 1.0"),
    ],
)
def test_settings_out_of_range_are_named(make, settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)
