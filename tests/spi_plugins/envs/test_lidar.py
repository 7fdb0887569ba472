import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.envs.lidar import lidar

# Four bins of 90 degrees and a reach of 2 m, so that the numbers can be done by hand.
sense = functools.partial(lidar, num_bins=4, reach=2.0)


def around(points, heading=0.0):
    return np.asarray(
        sense(jnp.asarray(points, jnp.float32).reshape(-1, 2), jnp.zeros(2), jnp.float32(heading))
    )


def at(degrees, distance=1.0):
    angle = np.deg2rad(degrees)
    return [distance * np.cos(angle), distance * np.sin(angle)]


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [
        # In the middle of a bin both neighbors get half of it, the one behind nothing.
        (45, [0.5, 0.25, 0.0, 0.25]),
        (135, [0.25, 0.5, 0.25, 0.0]),
        (-45, [0.25, 0.0, 0.25, 0.5]),
        # A quarter into bin 0: three quarters to the bin before, a quarter to the bin after.
        (22.5, [0.5, 0.125, 0.0, 0.375]),
        # A tenth before the end of bin 2, counted round to 261 degrees.
        (-99, [0.0, 0.05, 0.5, 0.45]),
    ],
)
def test_a_point_shows_in_its_bin_and_shares_with_the_two_beside(degrees, expected):
    np.testing.assert_allclose(around([at(degrees)]), expected, atol=1e-6)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_on_the_border_two_bins_see_the_same(degrees):
    expected = np.zeros(4)
    expected[[degrees // 90, degrees // 90 - 1]] = 0.5
    for offset in (-0.01, 0.01):
        np.testing.assert_allclose(around([at(degrees + offset)]), expected, atol=1e-3)


@pytest.mark.parametrize(
    ("distance", "reading"), [(0.0, 1.0), (0.5, 0.75), (1.5, 0.25), (2.0, 0.0), (9.0, 0.0)]
)
def test_a_reading_falls_from_one_to_zero_at_the_reach(distance, reading):
    assert around([at(45, distance)]).max() == pytest.approx(reading, abs=1e-6)


def test_bins_are_counted_from_the_heading_to_the_left():
    straight_ahead = around([at(45)])
    for heading in (-170, -90, 30, 90, 180):
        np.testing.assert_allclose(around([at(heading + 45)], np.deg2rad(heading)), straight_ahead, atol=1e-5)
        assert around([at(heading + 30)], np.deg2rad(heading)).argmax() == 0
        assert around([at(heading - 30)], np.deg2rad(heading)).argmax() == 3


def test_places_are_relative_to_the_robot():
    points, position = jnp.array([[3.0, 4.0]]), jnp.array([2.0, 3.0])
    shifted = sense(points, position, jnp.float32(0))
    np.testing.assert_allclose(shifted, around([[1.0, 1.0]]), atol=1e-6)


def test_of_several_points_a_bin_shows_the_largest_reading():
    one, other = at(45, 1.0), at(135, 0.5)
    np.testing.assert_allclose(around([one, other]), np.maximum(around([one]), around([other])))
    np.testing.assert_allclose(around([one, other]), [0.5, 0.75, 0.375, 0.25], atol=1e-6)


def test_without_points_there_is_nothing_to_see():
    np.testing.assert_array_equal(around([]), np.zeros(4))


def reference(points, position, heading, num_bins, reach):
    """The published pseudo-lidar, bin by bin, in plain Python."""
    readings = np.zeros(num_bins)
    for point in points:
        x, y = np.subtract(point, position)
        reading = max(0.0, reach - np.hypot(x, y)) / reach
        turns = ((np.arctan2(y, x) - heading) / (2 * np.pi)) % 1.0 * num_bins
        bin_, behind = int(turns) % num_bins, turns - int(turns)
        for index, share in ((bin_, 1.0), (bin_ + 1, behind), (bin_ - 1, 1.0 - behind)):
            readings[index % num_bins] = max(readings[index % num_bins], share * reading)
    return readings


def test_it_is_the_plain_python_one_wherever_things_stand():
    rng = np.random.default_rng(0)
    jitted = jax.jit(functools.partial(lidar, num_bins=16, reach=3.0))
    for _ in range(50):
        points = rng.uniform(-3, 3, (6, 2)).astype(np.float32)
        position = rng.uniform(-2, 2, 2).astype(np.float32)
        heading = np.float32(rng.uniform(-np.pi, np.pi))
        got = jitted(points, position, heading)
        np.testing.assert_allclose(got, reference(points, position, heading, 16, 3.0), atol=1e-4)
        assert got.shape == (16,)
        assert got.dtype == np.float32
