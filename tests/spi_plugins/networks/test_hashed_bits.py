import jax
import jax.numpy as jnp
import numpy as np

from spi_plugins.networks.hashed_bits import draw_seed, hashed_bits, hashed_key

N = 200_000


def words(seed, shape=(N,)):
    return np.asarray(hashed_bits(draw_seed(jax.random.key(seed)), shape))


def test_words_are_uniform():
    # Sixteen bins of 12500 each; five standard deviations are 541.
    counts = np.bincount(words(0) >> 28, minlength=16)
    assert np.abs(counts - N / 16).max() < 541
    # Every bit is set half of the time: five standard deviations of a share are 0.0056.
    bits = (words(1)[:, None] >> np.arange(32, dtype=np.uint32)) & 1
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 0.0056


def test_neighbors_and_keys_have_nothing_in_common():
    first, second = words(0).astype(np.float64), words(1).astype(np.float64)
    # Standard deviation of a correlation of 200 thousand pairs: 0.0022.
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.011
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.011
    assert (first == second).mean() < 1e-4


def test_the_same_key_gives_the_same_words_eager_and_jitted():
    seed = draw_seed(jax.random.key(3))
    jitted = jax.jit(hashed_bits, static_argnums=1)(seed, (5, 7))
    np.testing.assert_array_equal(jitted, hashed_bits(seed, (5, 7)))
    assert jitted.dtype == jnp.uint32


def test_hashed_keys_draw_split_and_fold_like_any_key():
    key = hashed_key(jax.random.key(0))
    keys = jnp.concatenate(
        [jax.random.split(key, 3), jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(3))]
    )
    drawn = np.asarray(jax.vmap(lambda key: jax.random.normal(key, (N,)))(keys), np.float64)
    # Five standard deviations of a mean, of a standard deviation and of a correlation.
    np.testing.assert_allclose(drawn.mean(axis=1), 0.0, atol=5 / N**0.5)
    np.testing.assert_allclose(drawn.std(axis=1), 1.0, atol=5 / (2 * N) ** 0.5)
    assert np.abs(np.corrcoef(drawn) - np.eye(6)).max() < 5 / N**0.5
    np.testing.assert_array_equal(drawn[0], jax.random.normal(jax.random.split(key, 3)[0], (N,)))
