"""The multiplier moves as the papers say, and refuses what makes no sense."""

import copy
import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spi_wrappers.cost.accounts.multiplier import Multiplier, PIDGains

costs = st.lists(st.lists(st.floats(0, 200), min_size=1, max_size=4), min_size=1, max_size=25)
fraction = st.floats(0, 0.99)


def test_gradient_ascent_by_hand():
    multiplier = Multiplier(limit=25, lr=0.1, init=1.0, maximum=3.0)
    values = []
    for episodes in ([35.0], [20.0, 20.0], [100.0], [0.0]):
        multiplier.observe(episodes)
        values.append(multiplier.value)
    # 1 + .1 * 10; 2 - .1 * 5; 1.5 + .1 * 75 above 3; 3 - .1 * 25
    np.testing.assert_allclose(values, [2.0, 1.5, 3.0, 0.5])


def test_the_multiplier_never_becomes_negative():
    multiplier = Multiplier(limit=25, lr=1.0, init=2.0)
    multiplier.observe(0.0)
    assert multiplier.value == 0.0


def test_pid_by_hand():
    gains = PIDGains(kp=0.1, ki=0.01, kd=0.5, ema_p=0.5, ema_d=0.0, delay=1)
    multiplier = Multiplier(limit=10, pid=gains, init=0.2)
    # J = 30: P = 20, I = .2 + .2, nothing to compare with
    multiplier.observe(30.0)
    assert multiplier.value == pytest.approx(2.0 + 0.4)
    # J = 40: P = (20 + 30) / 2, I = .4 + .3, D = 10
    multiplier.observe(40.0)
    assert multiplier.value == pytest.approx(2.5 + 0.7 + 5.0)
    # J = 0: P = (25 - 10) / 2, I = .7 - .1, D = 0
    multiplier.observe(0.0)
    assert multiplier.value == pytest.approx(0.75 + 0.6)


def slow_ascent(updates, limit, lr, init, maximum):
    value = init
    for episodes in updates:
        value = min(max(value + lr * (sum(episodes) / len(episodes) - limit), 0.0), maximum)
        yield value


def slow_pid(updates, limit, init, maximum, gains):
    """Keeps the whole history, and computes each term from all of it."""
    means = [sum(episodes) / len(episodes) for episodes in updates]
    smooth, integral = [], init
    for t, mean in enumerate(means):
        weights = [(1 - gains.ema_p) * gains.ema_p ** (t - k) for k in range(t + 1)]
        weights[0] = gains.ema_p**t
        proportional = sum(w * (m - limit) for w, m in zip(weights, means, strict=False))
        smooth.append(mean if t == 0 else gains.ema_d * smooth[-1] + (1 - gains.ema_d) * mean)
        integral = min(max(integral + gains.ki * (mean - limit), 0.0), maximum)
        slope = max(0.0, smooth[t] - smooth[max(0, t - gains.delay)])
        yield min(max(gains.kp * proportional + integral + gains.kd * slope, 0.0), maximum)


@settings(max_examples=100, deadline=None)
@given(updates=costs, limit=st.floats(0, 100), lr=st.floats(1e-3, 1), init=st.floats(0, 5))
def test_gradient_ascent_equals_a_slow_reference(updates, limit, lr, init):
    multiplier = Multiplier(limit, lr=lr, init=init, maximum=20)
    for episodes, expected in zip(updates, slow_ascent(updates, limit, lr, init, 20), strict=True):
        multiplier.observe(episodes)
        assert multiplier.value == pytest.approx(expected, abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(
    updates=costs,
    limit=st.floats(0, 100),
    ema_p=fraction,
    ema_d=fraction,
    delay=st.integers(1, 5),
    data=st.data(),
)
def test_pid_equals_a_slow_reference(updates, limit, ema_p, ema_d, delay, data):
    kp, ki, kd = (data.draw(st.floats(0.01, 1)) for _ in range(3))
    gains = PIDGains(kp=kp, ki=ki, kd=kd, ema_p=ema_p, ema_d=ema_d, delay=delay)
    multiplier = Multiplier(limit, pid=gains, init=0.5, maximum=20)
    for episodes, expected in zip(updates, slow_pid(updates, limit, 0.5, 20, gains), strict=True):
        multiplier.observe(episodes)
        assert multiplier.value == pytest.approx(expected, abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(updates=costs, pid=st.booleans(), cut=st.integers(0, 25))
def test_a_restored_multiplier_goes_on_as_if_nothing_had_happened(updates, pid, cut):
    how = {"pid": {"delay": 3, "ki": 0.2}} if pid else {"lr": 0.02}
    multiplier = Multiplier(20, manual=True, **how)
    restored = Multiplier(20, manual=True, **how)
    for t, episodes in enumerate(updates):
        multiplier.observe(episodes)
        if t == cut:
            restored.load_state_dict(json.loads(json.dumps(multiplier.state_dict())))
        elif t > cut:
            restored.observe(episodes)
        multiplier.update()
        if t >= cut:
            assert restored.update() == multiplier.value
            assert restored.state_dict() == multiplier.state_dict()


def test_a_manual_multiplier_takes_the_mean_over_all_episodes_since_its_last_update():
    multiplier = Multiplier(10, lr=0.1, manual=True)
    multiplier.observe([20.0, 40.0])
    multiplier.observe(60.0)
    assert multiplier.value == 0.0
    assert multiplier.update() == pytest.approx(3.0)
    assert multiplier.update() == pytest.approx(3.0)
    assert multiplier.updates == 1


def test_a_frozen_multiplier_ignores_episodes():
    multiplier = Multiplier(10, lr=0.1, init=1.0)
    multiplier.frozen = True
    multiplier.observe(1000.0)
    assert multiplier.update() == 1.0
    multiplier.frozen = False
    assert multiplier.update() == 1.0


@pytest.mark.parametrize("how", [{"lr": 0.1}, {"pid": {"kp": 0.0, "kd": 0.0, "ki": 0.1}}])
def test_updates_go_on_from_a_value_that_was_set(how):
    multiplier = Multiplier(10, **how)
    multiplier.observe(50.0)
    multiplier.set(2.0)
    assert multiplier.value == 2.0
    multiplier.observe(20.0)
    assert multiplier.value == pytest.approx(3.0)


def test_no_episodes_are_no_update():
    multiplier = Multiplier(10, init=1.0)
    multiplier.observe([])
    assert (multiplier.value, multiplier.updates) == (1.0, 0)


def test_a_limit_may_move():
    multiplier = Multiplier(10, lr=0.1)
    multiplier.limit = 0
    multiplier.observe(5.0)
    assert multiplier.value == pytest.approx(0.5)


@pytest.mark.parametrize("how", [{"lr": 0.1, "maximum": 7}, {"pid": PIDGains(kp=0.3), "init": 1.0}])
def test_settings_are_json_and_make_an_equal_multiplier(how):
    multiplier = Multiplier(10, manual=True, **how)
    settings = json.loads(json.dumps(multiplier.settings()))
    assert Multiplier(**settings).settings() == multiplier.settings()
    for twin in (copy.deepcopy(multiplier), pickle.loads(pickle.dumps(multiplier))):
        assert twin.settings() == multiplier.settings()
        assert twin.state_dict() == multiplier.state_dict()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"limit": -1}, ValueError, "limit must be finite and at least 0, got -1"),
        ({"limit": float("nan")}, ValueError, "limit must be finite and at least 0, got nan"),
        ({"limit": "25"}, TypeError, "limit must be a number, got '25'"),
        ({"limit": True}, TypeError, "limit must be a number"),
        ({"limit": 1, "lr": 0.0}, ValueError, "lr must be finite and above 0"),
        ({"limit": 1, "lr": 0.1, "pid": {}}, ValueError, "lr and pid exclude each other"),
        ({"limit": 1, "init": -0.5}, ValueError, "init must be"),
        (
            {"limit": 1, "init": 3, "maximum": 2},
            ValueError,
            "init must be finite and at least 0 and at most 2",
        ),
        ({"limit": 1, "maximum": 0}, ValueError, "maximum must be finite and above 0"),
        ({"limit": 1, "manual": "no"}, TypeError, "manual must be True or False, got 'no'"),
        ({"limit": 1, "pid": 0.1}, TypeError, "pid must be PIDGains or a mapping"),
        ({"limit": 1, "pid": {"Kp": 1}}, ValueError, r"unknown gains \['Kp'\]; allowed are \['kp'"),
        ({"limit": 1, "pid": {"kp": -1}}, ValueError, r"pid\.kp must be"),
        ({"limit": 1, "pid": {"ema_d": 1.0}}, ValueError, r"pid\.ema_d must be finite .* below 1"),
        ({"limit": 1, "pid": {"delay": 0}}, ValueError, r"pid\.delay must be at least 1"),
        ({"limit": 1, "pid": {"delay": 1.5}}, TypeError, r"pid\.delay must be an integer"),
        ({"limit": 1, "pid": {"kp": 0, "ki": 0, "kd": 0}}, ValueError, "all 0"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        Multiplier(**arguments)


def test_bad_costs_values_and_states_are_refused():
    multiplier = Multiplier(10, maximum=5)
    with pytest.raises(ValueError, match=r"Costs of episodes must be finite, got \[nan\]"):
        multiplier.observe(float("nan"))
    with pytest.raises(ValueError, match="the multiplier must be finite and at least 0 and at most 5, got 6"):
        multiplier.set(6)
    state = multiplier.state_dict()
    with pytest.raises(ValueError, match="state must have the keys"):
        multiplier.load_state_dict({"value": 1.0})
    with pytest.raises(ValueError, match="value must be"):
        multiplier.load_state_dict({**state, "value": -1.0})
    assert multiplier.state_dict() == state
