import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.losses.lagrangian import Multipliers, augmented_lagrangian, raise_multipliers
from spi_plugins.losses.tdmpc import consistency, imbalance_weights, over_window, td_target

LOSS = np.asarray([[1.0, 2.0, 3.0], [4.0, 5.0, np.nan]], np.float32)
VALID = np.asarray([[True, False, True], [True, True, False]])


def test_steps_weigh_by_rho_and_invalid_ones_do_not_count():
    # Means of 1, 3 and of 4, 5; weights 1 and 1/2; divided by the two steps.
    got = over_window(jnp.asarray(LOSS), jnp.asarray(VALID), 0.5)
    np.testing.assert_allclose(got, (2.0 + 0.5 * 4.5) / 2, rtol=1e-6)


def test_the_official_denominator_counts_an_invalid_row_as_one_entry():
    # Means over 4 entries: sums 16 and 36 over 3 * 4 - 1 = 11.
    got = over_window(jnp.asarray(LOSS), jnp.asarray(VALID), 0.5, entries=4)
    np.testing.assert_allclose(got, (16 / 11 + 0.5 * 36 / 11) / 2, rtol=1e-6)


def test_nothing_valid_is_zero():
    assert over_window(jnp.ones((2, 3)), jnp.zeros((2, 3), bool), 0.5) == 0.0


def test_consistency_is_the_mean_over_the_latent():
    a, b = jnp.asarray([[[1.0, 2.0]]]), jnp.asarray([[[0.0, 5.0]]])
    np.testing.assert_allclose(consistency(a, b), [[5.0]])


def test_costs_above_the_minimum_weigh_more():
    weights = imbalance_weights(jnp.asarray([[0.0, 0.5, 1.0]]), 0.5, 10.0)
    np.testing.assert_array_equal(weights, [[1.0, 1.0, 10.0]])


def test_targets_do_not_bootstrap_from_terminal_states():
    got = td_target(
        jnp.asarray([[1.0, 2.0]]), jnp.asarray([[False, True]]), jnp.asarray([[10.0, np.inf]]), 0.9
    )
    np.testing.assert_allclose(got, [[10.0, 2.0]], rtol=1e-6)


@pytest.mark.parametrize("gap", [3.0, 0.1, -0.4, -50.0])
def test_lagrangian_and_multipliers_in_both_branches(gap):
    price, penalty, rate = 0.5, 0.02, 5e-3
    kappa = price + penalty * gap
    psi = price * gap + 0.5 * penalty * gap**2 if kappa > 0 else -(price**2) / (2 * penalty)
    before = Multipliers(jnp.float32(price), jnp.float32(penalty))
    np.testing.assert_allclose(augmented_lagrangian(jnp.float32(gap), before), psi, rtol=1e-6)
    after = raise_multipliers(jnp.float32(gap), before, rate, 10.0)
    np.testing.assert_allclose(after, [max(kappa, 0.0), penalty * (1 + rate)], rtol=1e-6)


def test_the_multiplier_and_the_penalty_have_their_bounds():
    after = raise_multipliers(jnp.float32(1e6), Multipliers(jnp.float32(1.0), jnp.float32(1.0)), 0.1, 10.0)
    np.testing.assert_array_equal(after, [10.0, 1.0])


def test_multipliers_grow_as_the_official_ones_do():
    """With a gap of 5 from 1e-6 and 5e-9, after 1000 updates; a float64 recurrence of the official code's rule."""
    multipliers = Multipliers(jnp.float32(1e-6), jnp.float32(5e-9))
    for _ in range(1000):
        multipliers = raise_multipliers(jnp.float32(5.0), multipliers, 5e-6, 10.0)
    np.testing.assert_allclose(multipliers, [2.6062541e-5, 5.0250625e-9], rtol=1e-3)
