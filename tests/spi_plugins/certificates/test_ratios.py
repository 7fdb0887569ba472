"""Ratios of full action distributions."""

import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.certificates.ratios import gaussian_extremes, inside, ratio_extremes, summarize_ratios
from spi_plugins.types import ActionSpec

TWO = ActionSpec(kind="multi_discrete", shape=(2,), nvec=(2, 3))


def test_extremes_are_over_every_joint_action():
    rng = np.random.default_rng(0)
    old, new = (jnp.asarray(rng.normal(size=(4, 5)), jnp.float32) for _ in range(2))
    found = ratio_extremes(TWO, old, new)

    def joint(logits):
        first, second = (np.exp(part) for part in np.split(np.asarray(logits, np.float64), [2], axis=1))
        first, second = first / first.sum(1, keepdims=True), second / second.sum(1, keepdims=True)
        return first[:, :, None] * second[:, None, :]

    ratios = (joint(new) / joint(old)).reshape(4, -1)
    np.testing.assert_allclose(np.exp(found.largest), ratios.max(1), rtol=1e-5)
    np.testing.assert_allclose(np.exp(found.smallest), ratios.min(1), rtol=1e-5)
    constant = 1.5
    np.testing.assert_array_equal(
        inside(found, constant), ((ratios <= constant) & (ratios >= 2 - constant)).all(1)
    )
    summary = summarize_ratios(found, constant, 0.5)
    assert summary.supremum == pytest.approx(ratios.max(), rel=1e-5)
    assert summary.outside_theorem == np.mean(ratios.max(1) > 2.0)


def test_a_band_that_reaches_0_has_no_lower_end():
    found = ratio_extremes(
        ActionSpec(kind="discrete", nvec=(2,)), jnp.zeros((1, 2)), jnp.array([[-20.0, 0.0]])
    )
    assert bool(inside(found, 2.5)[0])
    assert not bool(inside(found, 1.9)[0])


def test_gaussians_are_in_no_neighborhood_of_each_other():
    old = jnp.array([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])  # mean, log std
    new = jnp.array([[0.0, 0.0], [0.1, 0.0], [0.3, -0.5], [0.3, 0.5]])
    above, below = gaussian_extremes(old, new)
    np.testing.assert_array_equal(np.isfinite(above), [True, False, True, False])
    np.testing.assert_array_equal(np.isfinite(below), [True, False, False, True])
    x = np.linspace(-10, 10, 200_001)
    density = [np.exp(-0.5 * ((x - m) / s) ** 2) / s for m, s in ((0, 1), (0.3, np.exp(-0.5)))]
    assert np.exp(above[2]) == pytest.approx((density[1] / density[0]).max(), rel=1e-4)
    with pytest.raises(ValueError, match="Box"):
        ratio_extremes(ActionSpec(kind="box", shape=(1,)), old, new)
