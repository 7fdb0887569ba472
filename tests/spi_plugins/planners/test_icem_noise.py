"""The noise of iCEM, against the spectrum that it shall have."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.planners.icem import ICEMConfig, colored_noise

HORIZON = 8


def noise(exponent):
    return np.asarray(colored_noise(HORIZON, 20000, 1, exponent, jax.random.key(0)))[..., 0]


@pytest.mark.parametrize("exponent", [0.0, 1.0, 3.0])
def test_the_power_falls_with_the_frequency(exponent):
    values = noise(exponent)
    np.testing.assert_allclose(values.std(axis=1), 1.0, atol=0.03)
    power = np.mean(np.abs(np.fft.rfft(values, axis=0)) ** 2, axis=1)
    frequencies = np.array([1, 1, 2, 3, 4]) / HORIZON  # of the constant, that of the slowest wave
    expected = frequencies**-exponent
    np.testing.assert_allclose(power / power[1], expected / expected[1], rtol=0.06)


def test_white_noise_is_uncorrelated_and_red_noise_is_not():
    assert abs(np.corrcoef(noise(0.0))[0, 1]) < 0.03
    assert np.corrcoef(noise(3.0))[0, 1] > 0.7


def test_a_horizon_of_one_has_noise_too():
    np.testing.assert_allclose(jnp.std(colored_noise(1, 5000, 1, 2.0, jax.random.key(0))), 1.0, atol=0.05)


def test_populations_shrink_down_to_twice_the_elites():
    assert ICEMConfig(iterations=4).populations == (40, 32, 25, 20)
    assert ICEMConfig(num_samples=15, iterations=2).populations == (15, 20)
    assert ICEMConfig(num_elites=10, keep_fraction=0.3).num_kept == 3
