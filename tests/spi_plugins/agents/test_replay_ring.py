"""Past rollouts: what is kept, what is overwritten, what is drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.agents.dream_spi.replay import add_rollout, draw, init_ring
from spi_plugins.types import ActionSpec, ArraySpec, Rollout

OBS = ArraySpec(kind="box", shape=(2,), dtype="float64")
ACTIONS = ActionSpec(kind="discrete", nvec=(3,))
T, B = 3, 2


def make_rollout(number, *, same_step=False):
    """Rewards 100 number + 10 environment + step; observations tell their row."""
    step, env = np.meshgrid(np.arange(T + 1), np.arange(B), indexing="ij")
    obs = jnp.asarray(np.stack([step, env], axis=-1) + 1000.0 * number, jnp.float32)
    reward = jnp.asarray(100.0 * number + 10.0 * env[:-1] + step[:-1], jnp.float32)
    no = jnp.zeros((T, B), bool)
    return Rollout(
        obs=obs,
        action=jnp.asarray(step[:-1], jnp.int32),
        log_prob=-reward,
        value=jnp.zeros((T + 1, B)),
        reward=reward,
        terminated=no.at[1, 0].set(True),
        truncated=no.at[1, 1].set(True),
        valid=~no.at[2, 0].set(True),
        final_obs=obs[1:] + 0.5 if same_step else None,
        final_value=jnp.zeros((T, B)) if same_step else None,
    )


def filled(capacity, count):
    ring = init_ring(OBS, ACTIONS, capacity, T)
    add = jax.jit(add_rollout, donate_argnums=0)
    for number in range(count):
        ring = add(ring, make_rollout(number))
    return ring


def owners(ring):
    """Rollout and environment of each sequence, as 10 rollout + environment."""
    return sorted((np.asarray(ring.sequences.reward[: int(ring.size), 0]) / 10).astype(int).tolist())


def test_a_ring_keeps_the_last_sequences():
    assert owners(filled(6, 2)) == [0, 1, 10, 11]
    assert owners(filled(6, 4)) == [10, 11, 20, 21, 30, 31]
    # With room for five, the oldest rollout has lost one environment.
    assert owners(filled(5, 3)) == [1, 10, 11, 20, 21]


def test_a_ring_takes_no_rollout_that_is_not_learnable():
    for ring in (filled(6, 2), filled(5, 3)):
        spoiled = make_rollout(7)._replace(reward=jnp.full((T, B), jnp.nan))
        for learnable in (True, False):
            after = add_rollout(ring, spoiled, jnp.asarray(learnable))
            same = jax.tree.map(lambda a, b: bool(jnp.array_equal(a, b)), after, ring)
            assert all(jax.tree.leaves(same)) is not learnable


def test_a_sequence_is_one_environments_part_of_one_rollout_in_order():
    ring = filled(5, 3)
    sequences = draw(ring, jax.random.key(0), 50)
    reward = np.asarray(sequences.reward)
    np.testing.assert_array_equal(reward - reward[:, :1], np.broadcast_to([0, 1, 2], (50, T)))
    np.testing.assert_array_equal(sequences.log_prob, -reward)
    np.testing.assert_array_equal(sequences.action, np.broadcast_to([0, 1, 2], (50, T)))
    number, env = np.divmod((reward[:, 0] / 10).astype(int), 10)
    np.testing.assert_array_equal(
        sequences.obs[:, :, 1], np.broadcast_to((1000 * number + env)[:, None], (50, T))
    )
    np.testing.assert_array_equal(sequences.terminated[:, 1], env == 0)
    np.testing.assert_array_equal(sequences.truncated[:, 1], env == 1)
    np.testing.assert_array_equal(~np.asarray(sequences.valid[:, 2]), env == 0)


def test_all_sequences_are_drawn_alike_and_none_that_is_not_there():
    ring = filled(50, 2)
    reward = np.asarray(draw(ring, jax.random.key(0), 4000).reward[:, 0])
    counts = {value: int((reward == value).sum()) for value in np.unique(reward)}
    assert set(counts) == {0.0, 10.0, 100.0, 110.0}
    # Five deviations of a binomial: 5 sqrt(4000 * 3 / 16) = 137.
    assert all(abs(count - 1000) < 137 for count in counts.values())


@pytest.mark.parametrize("same_step", [False, True])
def test_successors_are_the_true_ones_whatever_the_way_to_reset(same_step):
    rollout = make_rollout(0, same_step=same_step)
    ring = add_rollout(init_ring(OBS, ACTIONS, 4, T), rollout)
    expected = rollout.final_obs if same_step else rollout.obs[1:]
    np.testing.assert_array_equal(ring.sequences.next_obs[:B], np.swapaxes(expected, 0, 1))
    assert ring.sequences.obs.dtype == jnp.float32


def test_dict_observations_and_images_are_kept_as_they_are():
    spec = (("image", ArraySpec(kind="image", shape=(4, 4, 1), dtype="uint8")), ("numbers", OBS))
    ring = init_ring(spec, ACTIONS, 4, T)
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.integers(0, 255, (T + 1, B, 4, 4, 1)), jnp.uint8)
    ring = add_rollout(ring, make_rollout(0)._replace(obs={"image": image, "numbers": make_rollout(0).obs}))
    assert ring.sequences.obs["image"].dtype == jnp.uint8
    np.testing.assert_array_equal(ring.sequences.obs["image"][1], image[:-1, 1])
