import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.returns import generalized_advantages, masked_mean, normalize


@pytest.fixture(params=["eager", "jit"])
def gae(request):
    static = ("discount", "gae_lambda")
    return (
        generalized_advantages
        if request.param == "eager"
        else jax.jit(generalized_advantages, static_argnames=static)
    )


def column(*values):
    return jnp.asarray(values, jnp.float32)[:, None]


def flags(*values):
    return jnp.asarray(values, bool)[:, None]


def test_three_steps_by_hand(gae):
    no = flags(0, 0, 0)
    actual = gae(
        column(1.0, 2.0, 3.0),
        column(0.5, 0.5, 0.5),
        column(0.5, 0.5, 4.0),
        no,
        no,
        discount=0.5,
        gae_lambda=0.5,
    )
    # delta = [0.75, 1.75, 4.5];  A2 = 4.5;  A1 = 1.75 + 0.25 * 4.5;  A0 = 0.75 + 0.25 * A1
    np.testing.assert_allclose(actual, column(1.46875, 2.875, 4.5), rtol=1e-6)


def test_a_time_limit_bootstraps_and_a_terminal_state_does_not(gae):
    reward, value, next_value = column(1.0, 1.0), column(0.0, 0.0), column(10.0, 0.0)
    truncated = gae(reward, value, next_value, flags(0, 0), flags(1, 0), discount=0.5, gae_lambda=0.5)
    terminated = gae(reward, value, next_value, flags(1, 0), flags(1, 0), discount=0.5, gae_lambda=0.5)
    np.testing.assert_allclose(truncated, column(6.0, 1.0))
    np.testing.assert_allclose(terminated, column(1.0, 1.0))


def test_the_batch_axis_is_independent(gae):
    rng = np.random.default_rng(0)
    reward, value, following = (jnp.asarray(rng.normal(size=(7, 3)), jnp.float32) for _ in range(3))
    terminated = jnp.asarray(rng.random((7, 3)) < 0.2)
    done = terminated | jnp.asarray(rng.random((7, 3)) < 0.2)
    together = gae(reward, value, following, terminated, done, discount=0.9, gae_lambda=0.8)
    for i in range(3):
        one = slice(i, i + 1)
        alone = gae(
            reward[:, one], value[:, one], following[:, one], terminated[:, one], done[:, one],
            discount=0.9, gae_lambda=0.8,
        )  # fmt: skip
        np.testing.assert_allclose(together[:, one], alone, rtol=1e-6)


def test_it_equals_a_slow_reference_on_random_rollouts(gae):
    rng = np.random.default_rng(1)
    shape = (20, 5)
    reward, value, following = (rng.normal(size=shape) for _ in range(3))
    terminated = rng.random(shape) < 0.1
    done = terminated | (rng.random(shape) < 0.1)
    expected = np.zeros(shape)
    for b in range(5):
        running = 0.0
        for t in reversed(range(20)):
            delta = reward[t, b] + 0.97 * following[t, b] * (not terminated[t, b]) - value[t, b]
            running = delta + 0.97 * 0.9 * running * (not done[t, b])
            expected[t, b] = running
    floats = (jnp.asarray(x, jnp.float32) for x in (reward, value, following))
    actual = gae(*floats, jnp.asarray(terminated), jnp.asarray(done), discount=0.97, gae_lambda=0.9)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_masked_rows_count_nothing():
    x = jnp.asarray([1.0, jnp.nan, 3.0])
    valid = jnp.asarray([True, False, True])
    assert masked_mean(x, valid) == 2.0
    np.testing.assert_allclose(normalize(x, valid), [-1.0, 0.0, 1.0], rtol=1e-6)
    assert masked_mean(x, jnp.zeros(3, bool)) == 0.0
