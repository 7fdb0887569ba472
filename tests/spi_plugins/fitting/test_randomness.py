"""The tests of chance, on worlds and models that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.buffers import Buffer, Slot
from spi_plugins.fitting.randomness import find_randomness, in_words
from spi_plugins.types import ActionSpec, ArraySpec
from spi_plugins.world_models.model import FittedModel, Model, ModelSpec, Step

PUSH = ActionSpec(kind="box", shape=(1,), low=(-1.0,), high=(1.0,))
LINE = ArraySpec(kind="box", shape=(1,), dtype="float32")
FIVE = ArraySpec(kind="discrete", shape=(), dtype="int64", nvec=(5,))
N = 1500


def buffer_of(obs, action):
    obs, n = jnp.asarray(obs)[None], len(obs)
    zeros, no = jnp.zeros((1, n)), jnp.zeros((1, n), bool)
    valid = (jnp.arange(n) > 0)[None]
    slots = Slot(obs, jnp.asarray(action, jnp.float32).reshape(1, n, 1), zeros, zeros, no, no, valid)
    return Buffer(slots, jnp.zeros(1, jnp.int32), jnp.full(1, n, jnp.int32))


def line(chance):
    """x' = x / 2 + a + chance, where ``chance`` is the noise of each step."""
    action = np.random.default_rng(0).uniform(-1.0, 1.0, N)
    x = np.zeros(N)
    for t in range(1, N):
        x[t] = 0.5 * x[t - 1] + action[t] + chance[t]
    return buffer_of(x[:, None].astype(np.float32), action)


def model_of(chance, error=0.0):
    """The line's own model: ``chance`` draws the noise for a key, ``error`` is a smooth mistake."""

    def step(params, z, action, key):
        next_z = 0.5 * z + action + chance(key, z.shape) + error * jnp.sin(z)
        return Step(next_z, z[:, 0], jnp.zeros((0, len(z))), jnp.zeros(len(z)))

    spec = ModelSpec(latent_shape=(1,), action_size=1)
    return FittedModel(Model(spec=spec, encode=lambda params, obs: obs, step=step), {}, LINE, PUSH)


def coin(key, shape):
    return jnp.where(jax.random.bernoulli(key, 0.5, shape), 0.5, -0.5)


def none(key, shape):
    return jnp.zeros(shape)


def normal(key, shape):
    return 0.5 * jax.random.normal(key, shape)


TOSSED = np.where(np.random.default_rng(1).random(N) < 0.5, 0.5, -0.5)
NOTHING = np.zeros(N)


@pytest.mark.parametrize(
    ("chance", "model", "error", "looks_random", "shown"),
    [
        (TOSSED, coin, 0.0, True, True),
        (TOSSED, normal, 0.0, True, False),
        (TOSSED, none, 0.0, True, False),
        (NOTHING, none, 0.0, False, None),
        (NOTHING, none, 0.5, False, None),  # a poor fit, but not chance
    ],
)
def test_chance_in_numbers_is_told_from_a_poor_fit(chance, model, error, looks_random, shown):
    data = line(chance)
    found = find_randomness(model_of(model, error), data, data, seed=0)
    assert found.test == "residuals"
    assert (found.looks_random, found.shown) == (looks_random, shown)
    # The coin's variance is 1/4; that of the change is three quarters of the action's 1/3, plus the coin's, times 4/3.
    assert found.share == pytest.approx(0.25 / (4 / 3 * (1 / 3 + 0.25)) if looks_random else 0.0, abs=0.08)
    assert ("do not show it" in in_words(found._asdict())) == (shown is False)


@pytest.mark.parametrize(
    ("slips", "draws", "looks_random", "shown"),
    [(True, True, True, True), (True, False, True, False), (False, False, False, None)],
)
def test_repeats_of_discrete_states_tell_chance_exactly(slips, draws, looks_random, shown):
    rng = np.random.default_rng(0)
    s = np.zeros(N, int)
    for t in range(1, N):
        s[t] = (s[t - 1] + 1 + (slips and rng.random() < 0.25)) % 5
    actions = ActionSpec(kind="discrete", nvec=(2,))

    def step(params, z, action, key):
        slipped = jax.random.bernoulli(key, 0.25, (len(z), 1))
        one, two = jnp.roll(z, 1, axis=1), jnp.roll(z, 2, axis=1)
        drawn = jnp.where(slipped, two, one) if draws else 0.75 * one + 0.25 * two
        return Step(drawn, z[:, 0], jnp.zeros((0, len(z))), jnp.zeros(len(z)))

    spec = ModelSpec(latent_shape=(5,), action_size=2, nvec=(2,))
    model = Model(spec=spec, encode=lambda params, obs: jax.nn.one_hot(obs, 5), step=step)
    data = buffer_of(s, rng.integers(2, size=N))
    found = find_randomness(FittedModel(model, {}, FIVE, actions), data, data, seed=0)
    assert (found.test, found.looks_random, found.shown) == ("repeats", looks_random, shown)
    assert found.share == pytest.approx(2 * 0.25 * 0.75 if slips else 0.0, abs=0.03)
    words = in_words(found._asdict())
    assert ("transition_density='categorical'" in words) == (shown is False)


def test_a_handful_of_steps_tells_nothing():
    few = buffer_of(np.zeros((20, 1), np.float32), np.zeros(20))
    assert find_randomness(model_of(none), few, few, seed=0) is None
    single = buffer_of(np.arange(4), np.zeros(4))
    actions = ActionSpec(kind="discrete", nvec=(2,))
    assert (
        find_randomness(model_of(none)._replace(observations=FIVE, actions=actions), single, single, 0)
        is None
    )
