import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spi_plugins.algorithms.vec_envs import EpisodeStatistics


def test_an_episode_is_reported_once_with_its_return_and_length():
    statistics = EpisodeStatistics(2)
    assert statistics.update([1.0, 10.0], [False, False]) == []
    ((index, episode),) = statistics.update([2.0, 20.0], [True, False])
    assert (index, episode["r"], episode["l"]) == (0, 3.0, 2)
    assert set(episode) == {"r", "l", "t"}
    ((index, episode),) = statistics.update([4.0, 30.0], [False, True])
    assert (index, episode["r"], episode["l"]) == (1, 60.0, 3)


def test_the_cost_is_reported_only_once_costs_were_seen():
    statistics = EpisodeStatistics(1)
    ((_, episode),) = statistics.update([1.0], [True])
    assert "c" not in episode
    statistics.update([1.0], [False], cost=[0.25])
    ((_, episode),) = statistics.update([1.0], [True], cost=[0.5])
    assert episode["c"] == 0.75


def test_a_reset_row_is_no_step():
    statistics = EpisodeStatistics(2)
    statistics.update([5.0, 1.0], [False, False], cost=[7.0, 1.0], counts=[False, True])
    assert statistics.episode_length.tolist() == [0, 1]
    assert statistics.episode_return.tolist() == [0.0, 1.0]
    assert statistics.episode_cost.tolist() == [0.0, 1.0]


def test_returns_keep_their_cents_over_long_episodes():
    # 100,000 additions of 0.1 in float32 end at 9,998.6.
    statistics = EpisodeStatistics(1)
    for _ in range(99_999):
        statistics.update([np.float32(0.1)], [False])
    ((_, episode),) = statistics.update([np.float32(0.1)], [True])
    assert episode["r"] == pytest.approx(float(np.float32(0.1)) * 100_000, abs=1e-4)


@given(data=st.data(), num_envs=st.integers(1, 4), steps=st.integers(1, 30))
def test_vectorised_sums_equal_a_loop_over_environments(data, num_envs, steps):
    draw = data.draw
    shape = (steps, num_envs)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    reward, cost = rng.normal(size=shape), rng.integers(0, 3, shape)
    done, counts = rng.random(shape) < 0.2, rng.random(shape) < 0.8
    statistics = EpisodeStatistics(num_envs)
    got = []
    for t in range(steps):
        for i, episode in statistics.update(reward[t], done[t], cost[t], counts[t]):
            got.append((t, i, episode["r"], episode["l"], episode["c"]))
    want = []
    for i in range(num_envs):
        rows = []
        for t in range(steps):
            if counts[t, i]:
                rows.append(t)
            if done[t, i]:
                want.append((t, i, round(sum(reward[rows, i]), 6), len(rows), sum(cost[rows, i])))
                rows = []
    assert [(t, i, n) for t, i, _, n, _ in got] == [(t, i, n) for t, i, _, n, _ in sorted(want)]
    np.testing.assert_allclose(
        [g[2:] for g in got] or [[0]], [w[2:] for w in sorted(want)] or [[0]], atol=2e-6
    )
