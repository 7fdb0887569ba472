"""Elites and the next mean, against numbers of the official code and an independent NumPy version."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.action_heads import Proposal, box_head
from spi_plugins.planners.ccem import CCEMConfig, select_below
from spi_plugins.planners.cem import select_equal
from spi_plugins.planners.estimate import Estimate
from spi_plugins.planners.mppi import select_best
from spi_plugins.planners.refit import Selection, elite_weights, highest, shift, weighted_moments
from spi_plugins.planners.safe_improvement import SafeImprovementConfig, select_improving

GOLDEN = np.load(pathlib.Path(__file__).parents[2] / "data" / "spowl_plan.npz")
SIZES = {"num_samples": 16, "num_prior": 4, "num_elites": 3, "iterations": 1}
SAFE = SafeImprovementConfig(**SIZES)


def improving(estimate):
    return select_improving(estimate, SAFE)


def below(estimate):
    return select_below(estimate, CCEMConfig(**SIZES, threshold=THRESHOLDS[1]))


def too_few_below(estimate):
    return select_below(estimate, CCEMConfig(**SIZES, threshold=THRESHOLDS[0]))


# Of the official run: one below which nothing is, and one below which enough are.
THRESHOLDS = (0.05, 1.0)
# Case of the official code: how it chooses, whom it kept, and their weights.
CASES = {
    "few_improve": (improving, [1, 3, 4], [0.326086, 0.295055, 0.378858]),
    "many_improve": (improving, [6, 7, 10], [0.327182, 0.361592, 0.311225]),
    "none_improve": (improving, [0, 1, 2, 3], [0.249376, 0.275603, 0.225645, 0.249376]),
    "threshold_local_enough_safe": (below, [6, 7, 10], None),
    "threshold_local_too_few": (too_few_below, [7, 9, 10], None),
    "unsafe": (lambda estimate: select_best(estimate, 3), [6, 7, 8], None),
}


def estimate_of(value, cost):
    value, cost = jnp.asarray(value, jnp.float32), jnp.asarray(cost, jnp.float32)
    return Estimate(value, cost, cost)


@pytest.mark.parametrize("case", CASES)
def test_a_refit_equals_the_official_one(case):
    select, kept, weights = CASES[case]

    @jax.jit
    def refit(estimate, actions):
        weights = elite_weights(select(estimate), 0.5)
        return weights, weighted_moments(actions, weights)

    estimate = estimate_of(GOLDEN[f"{case}.value"], GOLDEN[f"{case}.cost"])
    got, (mean, _) = refit(estimate, GOLDEN[f"{case}.actions"])
    assert np.flatnonzero(got).tolist() == kept
    if weights is not None:
        np.testing.assert_allclose(np.asarray(got)[kept], weights, atol=2e-6)
    np.testing.assert_allclose(mean, GOLDEN[f"{case}.mean"], atol=1e-5)


@pytest.mark.parametrize(
    ("case", "value_threshold", "cost_threshold", "n_feasible"),
    [("few_improve", 1.0, 1.0, 3), ("many_improve", 1.0, 1.0, 3), ("none_improve", 1.0, 1.1, 0)],
)
def test_the_thresholds_are_the_means_of_the_prior(case, value_threshold, cost_threshold, n_feasible):
    metrics = jax.jit(improving)(estimate_of(GOLDEN[f"{case}.value"], GOLDEN[f"{case}.cost"])).metrics
    assert metrics["value_threshold"] == pytest.approx(value_threshold)
    assert metrics["cost_threshold"] == pytest.approx(cost_threshold)
    assert metrics["n_feasible"] == n_feasible
    assert metrics["no_improvement"] == (n_feasible == 0)


def select_in_numpy(value, cost, n_prior, k, restrict):
    """Algorithm 1 by lists."""
    d_r, d_c = value[:n_prior].mean(), cost[:n_prior].mean()
    kept = [i for i in range(len(value)) if value[i] >= d_r and cost[i] <= d_c]
    if not kept:
        return list(range(n_prior))
    # Highest value first, of equal ones the later.
    ranked = sorted(kept, key=lambda i: (value[i], i), reverse=True)
    return sorted(ranked[:k] if restrict else kept)


@pytest.mark.parametrize("restrict", [True, False])
@pytest.mark.parametrize("shift_of_cost", [-1.0, 0.0, 1.0, 4.0])  # all, many, few, none improve
def test_elites_are_those_of_algorithm_1(restrict, shift_of_cost):
    rng = np.random.default_rng(0)
    config = SafeImprovementConfig(
        num_samples=40, num_prior=5, num_elites=6, iterations=1, restrict_elites=restrict
    )
    seen = set()
    for _ in range(20):
        # Halves, so that the means are exact and many values tie.
        value, cost = rng.integers(0, 8, (2, 40)) / 2.0
        cost[5:] += shift_of_cost
        expected = select_in_numpy(value, cost, 5, 6, restrict)
        mask = jax.jit(select_improving, static_argnums=1)(estimate_of(value, cost), config).mask
        assert np.flatnonzero(mask).tolist() == expected
        seen.add(len(expected))
    if restrict:
        assert max(seen) <= 6


def test_what_differs_from_the_prior_by_rounding_alone_passes():
    value, cost = np.full(16, 0.3, np.float32), np.full(16, 0.7, np.float32)
    value[4:] = np.nextafter(value[4:], np.float32(0.0))
    cost[4:] = np.nextafter(cost[4:], np.float32(1.0))
    config = SafeImprovementConfig(num_samples=16, num_prior=4, num_elites=3, restrict_elites=False)
    assert select_improving(estimate_of(value, cost), config).metrics["n_feasible"] == 16


def test_ccem_takes_the_cheapest_while_too_few_are_safe():
    value, cost = np.arange(6.0), np.array([3.0, 0.05, 2.0, 1.0, 0.5, 4.0])
    config = CCEMConfig(num_samples=6, num_prior=2, num_elites=2, iterations=1)
    selection = select_below(estimate_of(value, cost), config)
    assert np.flatnonzero(selection.mask).tolist() == [1, 4]
    np.testing.assert_array_equal(selection.score, -cost.astype(np.float32))
    assert selection.metrics["n_feasible"] == 1
    assert selection.metrics["no_improvement"] == 1


def test_ccem_takes_the_best_of_the_safe_and_the_threshold_itself_is_not_safe():
    value, cost = np.arange(6.0), np.array([0.0, 0.0, 0.0, 0.5, 0.5, 0.5])
    config = CCEMConfig(num_samples=6, num_prior=2, num_elites=2, iterations=1, threshold=0.5)
    selection = select_below(estimate_of(value, cost), config)
    assert np.flatnonzero(selection.mask).tolist() == [1, 2]


def test_ccem_reads_the_estimate_that_it_is_told_to():
    value = jnp.arange(4.0)
    both = Estimate(value, jnp.array([0.0, 0.0, 9.0, 9.0]), jnp.array([9.0, 9.0, 0.0, 0.0]))
    sizes = {"num_samples": 4, "num_prior": 1, "num_elites": 2, "iterations": 1}
    for cost, kept in (("global", [0, 1]), ("local", [2, 3])):
        mask = select_below(both, CCEMConfig(**sizes, cost=cost)).mask
        assert np.flatnonzero(mask).tolist() == kept


def test_elites_of_the_cross_entropy_method_weigh_the_same():
    selection = select_equal(estimate_of([1.0, 5.0, 3.0, 4.0], [0.0] * 4), 2)
    np.testing.assert_allclose(elite_weights(selection, 0.5), [0.0, 0.5, 0.0, 0.5])


def test_weights_are_finite_for_the_largest_scores():
    mask = jnp.array([True, True, True])
    score = jnp.array([3.4e38, -3.4e38, 3.4e38])
    np.testing.assert_allclose(elite_weights(Selection(mask, score, {}), 5.0), [0.5, 0.0, 0.5])


def test_moments_count_each_sequence_by_its_weight():
    rng = np.random.default_rng(1)
    actions, weights = rng.normal(size=(3, 5, 2)).astype(np.float32), np.array([0.1, 0.0, 0.4, 0.3, 0.2])
    mean, std = weighted_moments(jnp.asarray(actions), jnp.asarray(weights, jnp.float32))
    expected = np.average(actions, axis=1, weights=weights)
    variance = np.average((actions - expected[:, None]) ** 2, axis=1, weights=weights)
    np.testing.assert_allclose(mean, expected, atol=1e-6)
    np.testing.assert_allclose(std, np.sqrt(variance), atol=1e-6)


def test_of_equal_scores_the_first_or_the_last_stay():
    score = jnp.array([1.0, 2.0, 1.0, 1.0])
    assert highest(score, 2).tolist() == [True, True, False, False]
    assert highest(score, 2, ties_to_the_last=True).tolist() == [False, True, False, True]


def test_the_warm_start_is_one_step_later_with_a_zero_at_the_end():
    np.testing.assert_array_equal(shift(jnp.array([[1.0], [2.0], [3.0]])), [[2.0], [3.0], [0.0]])


def test_sampled_sequences_are_around_the_mean_and_within_bounds():
    mean, std = jnp.array([[0.5, -0.9]] * 2), jnp.full((2, 2), 0.1)
    actions = box_head(2).draw(Proposal(mean, std), 4000, jax.random.key(0))
    assert actions.shape == (2, 4000, 2)
    assert float(jnp.abs(actions).max()) <= 1.0
    np.testing.assert_allclose(jnp.mean(actions[..., 0]), 0.5, atol=0.01)
    np.testing.assert_allclose(jnp.std(actions[..., 0]), 0.1, atol=0.005)
