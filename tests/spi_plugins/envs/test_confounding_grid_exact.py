import re

import numpy as np
import pytest

from spi_plugins.envs.cartpole import make_cartpole
from spi_plugins.envs.confounding_grid import make_confounding_grid
from spi_plugins.envs.confounding_grid_exact import (
    all_observations,
    corridor_policy,
    exact_model,
    start_value,
    state_values,
)

MODEL = exact_model(make_confounding_grid())
RIGHT, BOTH, BEST = (0.0, 0.0), (1.0, 1.0), (1.0, 0.0)


def by_hand(n, epsilon, gamma, up):
    """From I two steps without pay, n - 1 that pay 1, then 1, or what UP pays with probability ``up[i]``."""
    at_end = gamma ** (n + 1)
    path = sum(gamma**t for t in range(2, n + 1))
    win, fall = n / gamma**n, -(2 - epsilon) * n / (epsilon * gamma**n)
    upper = up[0] * win + (1 - up[0])
    lower = up[1] * fall + (1 - up[1])
    return path + at_end * ((1 - epsilon) * upper + epsilon * lower)


@pytest.mark.parametrize(
    ("arguments", "up", "expected"),
    [
        ({}, RIGHT, 4.803),
        ({}, BOTH, -1.088),
        ({}, BEST, 8.010),
        ({}, (0.1, 0.1), 4.214),
        ({"epsilon": 0.1}, RIGHT, 4.803),
        ({"epsilon": 0.1}, BOTH, -1.088),
        ({"epsilon": 0.1}, BEST, 8.411),
        ({"n_path": 10}, RIGHT, 9.372),
        ({"n_path": 10}, BOTH, -1.424),
        ({"n_path": 10}, BEST, 16.575),
    ],
)
def test_the_published_returns(arguments, up, expected):
    model = exact_model(make_confounding_grid(**arguments))
    value = start_value(model, corridor_policy(model, *up))
    assert value == pytest.approx(expected, abs=5e-4)
    n, epsilon = arguments.get("n_path", 5), arguments.get("epsilon", 0.2)
    assert value == pytest.approx(by_hand(n, epsilon, 0.99, up), rel=1e-12)


def test_the_documented_returns_are_these():
    columns = [{}, {"epsilon": 0.1}, {"n_path": 10}]
    models = [exact_model(make_confounding_grid(**arguments)) for arguments in columns]
    for row, up in (("RIGHT everywhere", RIGHT), ("UP at both ``!``", BOTH), ("UP at the upper, best", BEST)):
        values = [f"{start_value(model, corridor_policy(model, *up)):.3f}" for model in models]
        assert re.search(rf"{row} +{' +'.join(values)}\n", make_confounding_grid.__doc__)


def test_the_uniform_policy():
    assert start_value(MODEL, np.full((16, 4), 0.25)) == pytest.approx(1.774, abs=5e-4)


def test_values_solve_bellmans_equation_by_iteration():
    policy = np.random.default_rng(0).dirichlet(np.ones(4), 16)
    values = np.zeros(16)
    for _ in range(3000):
        values = (policy * (MODEL.reward + 0.99 * MODEL.transition @ values)).sum(axis=1)
    np.testing.assert_allclose(state_values(MODEL, policy), values, atol=1e-9)


@pytest.mark.parametrize(
    "arguments", [{}, {"epsilon": 0.9}, {"n_path": 2, "gamma": 0.5}, {"n_path": 12, "epsilon": 0.01}]
)
def test_no_policy_is_better_than_up_at_the_upper_corridors_end(arguments):
    model = exact_model(make_confounding_grid(**arguments))
    values = np.zeros(len(model.reward))
    for _ in range(3000):  # value iteration
        values = (model.reward + model.gamma * model.transition @ values).max(axis=1)
    np.testing.assert_allclose(state_values(model, corridor_policy(model, 1.0)), values, atol=1e-9)


@pytest.mark.parametrize("epsilon", [0.05, 0.2, 0.7])
def test_one_policy_for_both_ends_loses_by_every_chance_of_going_up(epsilon):
    model = exact_model(make_confounding_grid(epsilon=epsilon))
    values = [start_value(model, corridor_policy(model, p, p)) for p in np.linspace(0, 1, 5)]
    # At a merged state UP pays -n / gamma**n on average, however rare the lower corridor, and RIGHT 1.
    np.testing.assert_allclose(np.diff(values), 0.25 * 0.99**6 * (-5 / 0.99**5 - 1), rtol=1e-9)


def test_the_tables_follow_the_parameters_of_the_environment():
    env = make_confounding_grid()
    model = exact_model(env._replace(params=env.params._replace(epsilon=0.1, gamma=0.9)))
    np.testing.assert_allclose(model.transition[8, :, [1, 10]], [[0.9] * 4, [0.1] * 4])
    assert model.gamma == 0.9
    assert model.reward[5, 0] == pytest.approx(5 / 0.9**5)
    assert model.decisions == (5, 14)
    assert model.start == 7


def test_the_tables_are_probabilities_and_ends_are_absorbing():
    np.testing.assert_allclose(MODEL.transition.sum(axis=2), 1.0)
    for end in (0, 6, 9, 15):
        np.testing.assert_array_equal(MODEL.transition[end, :, end], 1.0)
        np.testing.assert_array_equal(MODEL.reward[end], 0.0)


def test_a_shared_table_cannot_be_changed_by_accident():
    before = MODEL.transition.copy()
    exact_model(make_confounding_grid()).transition[:] = 0.0
    np.testing.assert_array_equal(exact_model(make_confounding_grid()).transition, before)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (np.full((15, 4), 0.25), r"shape \(16, 4\), got \(15, 4\)"),
        (np.full((16, 4), 0.3), "sum to 1 in each state, got sums from 1.2"),
        (np.tile([1.5, -0.5, 0.0, 0.0], (16, 1)), r"smallest entry of -0\.5"),
        (np.full((16, 4), np.nan), "probabilities"),
    ],
)
def test_what_is_no_policy_is_refused(policy, message):
    with pytest.raises(ValueError, match=message):
        state_values(MODEL, policy)


def test_other_environments_and_probabilities_are_refused():
    for function in (exact_model, all_observations):
        with pytest.raises(ValueError, match="must come from make_confounding_grid, got cartpole"):
            function(make_cartpole())
    with pytest.raises(ValueError, match="up_below must be a number at least 0 and at most 1, got 2"):
        corridor_policy(MODEL, 1.0, 2.0)
