"""The ring buffer against a slow list of slots, and its windows against what was written."""

import errno
import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spi_plugins import buffers, host_buffers
from spi_plugins.algorithms.replay_memory import can_sample
from spi_plugins.buffers import Slot
from spi_plugins.types import ArraySpec

N_ENVS, CAPACITY, HORIZON = 2, 6, 2
VECTOR = ArraySpec(kind="box", shape=(1,), dtype="float64")
ADD = jax.jit(buffers.add)


@functools.partial(jax.jit, static_argnames=("batch_size", "horizon"))
def sample(buffer, key, *, batch_size, horizon):
    return buffers.sample(buffer, key, batch_size, horizon)


def slot(number, first=False, terminated=False, truncated=False):
    """A slot of both environments whose every number tells when it was written, and where."""
    value = np.asarray([number, number + 100.0], np.float32)
    flags = [np.full(N_ENVS, flag) for flag in (terminated, truncated, not first)]
    return Slot(value[:, None], value[:, None], value, value, *flags)


def filled(flags, written=None):
    buffer = buffers.init(VECTOR, 1, N_ENVS, CAPACITY)
    for number, kwargs in enumerate(flags):
        mask = np.ones(N_ENVS, bool) if written is None else np.asarray(written[number])
        buffer = ADD(buffer, slot(number, **kwargs), mask)
    return buffer


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=20))
def test_each_ring_holds_its_last_slots_and_every_window_is_consecutive(written):
    buffer = filled([{}] * len(written), written)
    rings = [
        [number + 100.0 * env for number, mask in enumerate(written) if mask[env]][-CAPACITY:]
        for env in range(N_ENVS)
    ]
    assert buffer.size.tolist() == [len(ring) for ring in rings]
    possible = {tuple(ring[i : i + HORIZON + 1]) for ring in rings for i in range(len(ring) - HORIZON)}
    assert can_sample(buffer, HORIZON) == bool(possible)
    if possible:
        windows = sample(buffer, jax.random.key(len(written)), batch_size=300, horizon=HORIZON)
        got = {tuple(column) for column in np.asarray(windows.obs[..., 0]).T.tolist()}
        assert got == possible  # all of them, in 300 draws of at most 8
        np.testing.assert_array_equal(windows.reward, windows.obs[1:, :, 0])  # what led to the observation


def test_windows_are_drawn_uniformly_though_rings_differ():
    written = [(True, True)] * 3 + [(True, False)] * 3
    windows = sample(filled([{}] * 6, written), jax.random.key(0), batch_size=20_000, horizon=HORIZON)
    counts = np.unique(np.asarray(windows.obs[0, :, 0]), return_counts=True)[1] / 20_000
    np.testing.assert_allclose(counts, [0.2] * 5, atol=0.015)  # four windows of the first, one of the second


def test_the_step_into_a_new_episode_is_masked_and_the_terminal_one_is_told():
    buffer = filled([{"first": True}, {}, {"terminated": True}, {"first": True}, {}])
    windows = buffers.windows(jax.tree.map(lambda ring: jnp.moveaxis(ring[:, :5], 0, 1), buffer.slots))
    np.testing.assert_array_equal(windows.valid[:, 0], [True, True, False, True])
    np.testing.assert_array_equal(windows.terminated[:, 0], [False, True, False, False])
    np.testing.assert_array_equal(windows.done[:, 0], [False, False, True, False, False])


@pytest.mark.parametrize("end", ["terminated", "truncated"])
def test_the_last_observation_of_a_window_may_be_the_last_of_its_episode(end):
    buffer = filled([{"first": True}, {}, {end: True}])
    windows = buffers.windows(jax.tree.map(lambda ring: jnp.moveaxis(ring[:, :3], 0, 1), buffer.slots))
    np.testing.assert_array_equal(windows.done[:, 0], [False, False, True])


def test_images_stay_bytes_and_dicts_stay_dicts():
    image = ArraySpec(kind="image", shape=(4, 4, 1), dtype="uint8")
    buffer = buffers.init((("picture", image), ("vector", VECTOR)), 2, 3, 5)
    assert buffer.slots.obs["picture"].dtype == jnp.uint8
    assert buffer.slots.obs["vector"].dtype == jnp.float32
    # 16 bytes of image, 1 number, 2 actions, reward, cost, three flags.
    assert buffers.slot_bytes((("picture", image), ("vector", VECTOR)), 2) == 16 + 4 * 5 + 3


def test_a_full_buffer_compiles_nothing_anew():
    buffer = buffers.init(VECTOR, 1, N_ENVS, CAPACITY)
    add, draw = jax.jit(buffers.add), jax.jit(buffers.sample, static_argnums=(2, 3))
    for number in range(3 * CAPACITY):
        buffer = add(buffer, slot(number), np.ones(N_ENVS, bool))
        draw(buffer, jax.random.key(number), 4, HORIZON)
    assert add._cache_size() == draw._cache_size() == 1


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=3, max_size=20))
def test_a_buffer_in_mapped_files_holds_the_same_and_draws_from_the_same_windows(written):
    device = filled([{}] * len(written), written)
    host = host_buffers.init(VECTOR, 1, N_ENVS, CAPACITY)
    for number, mask in enumerate(written):
        host = host_buffers.add(host, slot(number), np.asarray(mask))
    jax.tree.map(np.testing.assert_array_equal, host.slots, jax.tree.map(np.asarray, device.slots))
    assert can_sample(host, HORIZON) == can_sample(device, HORIZON)
    if can_sample(host, HORIZON):
        drawn = host_buffers.sample(host, np.asarray([len(written)], np.uint32), 3, 200, HORIZON)
        assert drawn.obs.shape == (3, HORIZON + 1, 200, 1)
        windows = sample(device, jax.random.key(len(written)), batch_size=600, horizon=HORIZON)
        expected = {tuple(column) for column in np.asarray(windows.obs[..., 0]).T.tolist()}
        got = {tuple(column) for batch in np.asarray(drawn.obs[..., 0]) for column in batch.T.tolist()}
        assert got == expected


def test_a_buffer_that_the_disk_has_no_room_for_is_refused(monkeypatch):
    message = (
        r"replay buffer's \d+ bytes do not fit: No space left on device; set TMPDIR.*buffer_size.*'/.*'$"
    )
    with pytest.raises(OSError, match=message):
        host_buffers.init(VECTOR, 1, N_ENVS, 2**50)

    def full(handle, offset, length):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=message):
        host_buffers.init(VECTOR, 1, N_ENVS, CAPACITY)


def test_the_disk_space_of_mapped_files_is_reserved(monkeypatch):
    reserved = []
    fallocate = os.posix_fallocate
    monkeypatch.setattr(os, "posix_fallocate", lambda *args: (reserved.append(args[1:]), fallocate(*args)))
    host = host_buffers.init(VECTOR, 1, N_ENVS, CAPACITY)
    sizes = [ring.nbytes for ring in jax.tree.leaves(host.slots)]
    assert sorted(reserved) == sorted((0, size) for size in sizes)
