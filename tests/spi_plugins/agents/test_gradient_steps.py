"""The loops over gradient steps, and how their metrics leave the device."""

import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.agents.gradient_steps import Descent, TrainState, accept, descend, move, replayed_update
from spi_plugins.agents.packed import pack
from spi_plugins.buffers import Windows


def step(state, gradients):
    return TrainState(move(state.params, gradients, jnp.float32(0.5)), state.opt_state + 1)


def quadratic(params, entry):
    return 0.5 * (params["w"] - entry) ** 2, {"approx_kl": jnp.abs(entry)}


START = TrainState({"w": jnp.asarray(4.0)}, jnp.asarray(0))


def test_each_step_starts_where_the_last_one_ended():
    state, metrics = descend(START, Descent(step), quadratic, jnp.asarray([0.0, 2.0]))
    # 4 - 0.5 * 4 = 2, then 2 - 0.5 * 0 = 2.
    assert (float(state.params["w"]), int(state.opt_state)) == (2.0, 2)
    np.testing.assert_allclose(metrics["grad_norm"], [4.0, 0.0])
    np.testing.assert_array_equal(metrics["n_updates"], [1, 1])


def test_nothing_moves_from_the_step_on_whose_kl_is_too_large():
    entries = jnp.asarray([1.0, 1.6, 0.0])
    state, metrics = descend(START, Descent(step), quadratic, entries, target_kl=1.0)
    assert (float(state.params["w"]), int(state.opt_state)) == (2.5, 1)
    np.testing.assert_array_equal(metrics["n_updates"], [1, 0, 0])


class Counter(typing.NamedTuple):
    params: jax.Array
    key: jax.Array


@pytest.mark.parametrize("n_updates", [0, 2, 3])
def test_replayed_updates_take_their_windows_in_turn_and_average_the_metrics(n_updates):
    def add(state, windows, learning_rate, key):
        reward = jnp.sum(windows.reward)
        return state._replace(params=state.params + learning_rate * reward), {"reward": reward}

    zeros = jnp.zeros((3, 1, 1))
    reward = jnp.asarray([1.0, 2.0, 6.0]).reshape(3, 1, 1)
    flags = zeros.astype(bool)
    windows = Windows(
        jnp.zeros((3, 2, 1)), zeros[..., None], reward, zeros, flags, ~flags, jnp.zeros((3, 2, 1), bool)
    )
    update = jax.jit(replayed_update(add, batch_size=1, horizon=1))
    start = Counter(jnp.zeros(()), jax.random.key(0))
    state, means = update(start, windows, jnp.int32(n_updates), jnp.float32(10.0))
    assert state.params == 10.0 * np.sum(reward[:n_updates])
    np.testing.assert_allclose(means["reward"], np.mean(reward[:n_updates]) if n_updates else 0.0)
    assert state.key == jax.random.split(start.key)[0]


def test_replayed_updates_that_are_not_finite_are_not_made():
    def diverge(state, windows, learning_rate, key):
        return state._replace(params=state.params + learning_rate), {"reward": jnp.zeros(())}

    zeros = jnp.zeros((1, 1, 1))
    flags = zeros.astype(bool)
    windows = Windows(
        jnp.zeros((1, 2, 1)), zeros[..., None], zeros, zeros, flags, ~flags, jnp.zeros((1, 2, 1), bool)
    )
    update = jax.jit(replayed_update(diverge, batch_size=1, horizon=1))
    start = Counter(jnp.ones(()), jax.random.key(0))
    state, means = update(start, windows, jnp.int32(1), jnp.float32(jnp.inf))
    assert state.params == 1.0
    assert jnp.isnan(means["reward"])  # by which the host knows


@pytest.mark.parametrize(
    ("weight", "loss", "learnable", "taken"),
    [(2.0, 0.5, None, True), (2.0, 0.5, True, True), (2.0, 0.5, False, False), (2.0, jnp.nan, None, False),
     (jnp.inf, 0.5, None, False)],
)  # fmt: skip
def test_only_finite_updates_on_finite_data_are_accepted(weight, loss, learnable, taken):
    old, new = (TrainState({"w": jnp.float32(w)}, jnp.int32(w > 1)) for w in (1.0, weight))
    state, said = accept(new, old, jnp.float32(loss), None if learnable is None else jnp.asarray(learnable))
    assert state == (new if taken else old)
    assert bool(jnp.isfinite(said)) == taken


def test_a_packed_tree_is_one_array_and_comes_back_whole():
    tree = {
        "a": jnp.float32(1.0),
        "b": (None, jnp.int32(2)),
        "c": Counter(jnp.float32(3.0), jnp.float32(4.0)),
    }
    packed = jax.jit(pack)(tree)
    assert packed.values.shape == (4,)
    assert packed.unpack() == {"a": 1.0, "b": (None, 2.0), "c": Counter(3.0, 4.0)}
