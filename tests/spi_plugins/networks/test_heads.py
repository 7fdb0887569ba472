import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.networks.heads import action_features, chosen_heads, chosen_heads_batch_last, head_count
from spi_plugins.types import ActionSpec


# Groups, features, outputs and places that take each way: fetched kernels, all heads, tiles of one action.
@pytest.mark.parametrize(
    ("heads", "shape"), [(5, (2, 4, 6, 9)), (3, (2, 4, 6, 1)), (6, (2, 4, 6, 1)), (4, (1, 300, 220, 9))]
)
@pytest.mark.parametrize("one_hot", [False, True])
def test_chosen_head_equals_the_same_entry_of_all_heads(heads, shape, one_hot):
    groups, n_in, n_out, places = shape
    x = jax.random.normal(jax.random.key(0), (37, groups, n_in, places))
    kernel = jax.random.normal(jax.random.key(1), (heads, groups, n_out, n_in))
    bias = jax.random.normal(jax.random.key(2), (heads, groups, n_out))
    action = jax.random.randint(jax.random.key(3), (37,), 0, heads).at[:3].set(heads - 1)
    weights = jax.random.normal(jax.random.key(4), (37, groups, n_out, places))

    def reference(x, kernel, bias):
        every = jnp.einsum("bgim,agoi->bagom", x, kernel) + bias[None, ..., None]
        return jnp.sum(every[jnp.arange(37), action] * weights), every[jnp.arange(37), action]

    def ours(x, kernel, bias):
        choice = jax.nn.one_hot(action, heads) if one_hot else action
        outputs = chosen_heads(x, kernel, bias, choice)
        return jnp.sum(outputs * weights), outputs

    results = [
        jax.jit(jax.value_and_grad(f, argnums=(0, 1, 2), has_aux=True))(x, kernel, bias)
        for f in (ours, reference)
    ]
    for got, expected in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3 * float(jnp.max(jnp.abs(expected))))


# All heads in one product, and tiles of one action.
@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (18, 4, 40, 100)])
@pytest.mark.parametrize("kind", ["index", "one-hot", "none"])
def test_heads_with_the_batch_last_are_the_same(shape, kind):
    heads, groups, n_in, n_out = (1, *shape[1:]) if kind == "none" else shape
    x = jax.random.normal(jax.random.key(0), (groups, n_in, 37))
    kernel = jax.random.normal(jax.random.key(1), (heads, groups, n_out, n_in))
    bias = jax.random.normal(jax.random.key(2), (heads, groups, n_out))
    index = jax.random.randint(jax.random.key(3), (37,), 0, heads)
    action = {"index": index, "one-hot": jax.nn.one_hot(index, heads), "none": None}[kind]
    expected = jnp.einsum("boi,ib->ob", kernel[index, 1], x[1]) + bias[index, 1].T
    got = chosen_heads_batch_last(x, kernel, bias, action)[1]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_gradient_by_a_one_hot_action_is_every_heads_output():
    x, kernel = (
        jnp.ones((1, 1, 2, 1)),
        jnp.array([1.0, 3.0, -2.0, 5.0]).reshape(4, 1, 1, 1) * jnp.ones((4, 1, 1, 2)),
    )
    gradient = jax.grad(lambda a: jnp.sum(chosen_heads(x, kernel, jnp.zeros((4, 1, 1)), a)))(jnp.eye(4)[:1])
    assert gradient.tolist() == [[2.0, 6.0, -4.0, 10.0]]


def test_single_head_takes_no_action():
    x, kernel, bias = jnp.ones((2, 1, 3, 1)), jnp.ones((1, 1, 2, 3)), jnp.ones((1, 1, 2))
    assert chosen_heads(x, kernel, bias, None).tolist() == [[[[4.0], [4.0]]]] * 2


def test_action_features_are_one_hots_or_the_flat_box():
    multi = ActionSpec(kind="multi_discrete", shape=(2,), nvec=(2, 3))
    box = ActionSpec(kind="box", shape=(2, 1), low=(-1.0, -1.0), high=(1.0, 1.0))
    discrete = ActionSpec(kind="discrete", nvec=(3,))
    assert action_features(multi, jnp.array([[1, 2]])).tolist() == [[0, 1, 0, 0, 1]]
    assert action_features(box, jnp.array([[[0.5], [-1.0]]])).tolist() == [[0.5, -1.0]]
    assert action_features(discrete, jnp.array([2, 0])).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert [head_count(spec) for spec in (multi, box, discrete)] == [1, 1, 3]
