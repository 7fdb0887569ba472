import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from spi_plugins.networks.functional import functional
from spi_plugins.networks.lipschitz import LipschitzConv, LipschitzDense, group_sort
from spi_plugins.networks.spectral import conv_norm_bound


def operator_norm(function, *shape):
    """Largest singular value of an affine map, from its matrix column by column."""
    size = int(np.prod(shape))
    basis = jnp.eye(size).reshape(size, *shape)
    matrix = jax.jit(lambda x: function(x) - function(jnp.zeros((1, *shape))))(basis)
    return np.linalg.svd(np.asarray(matrix, np.float64).reshape(size, -1), compute_uv=False)[0]


def test_group_sort_sorts_each_pair_and_lets_an_odd_feature_through():
    x = jnp.array([[3.0, -1.0, 2.0, 4.0, 7.0]])
    assert group_sort(x).tolist() == [[2.0, -1.0, 3.0, 4.0, 7.0]]


def test_group_sort_is_a_permutation_so_it_keeps_distances_or_shrinks_them():
    x, y = np.asarray(jax.random.normal(jax.random.key(0), (2, 500, 8)))
    assert np.sort(group_sort(jnp.asarray(x))).tolist() == np.sort(x).tolist()
    moved = np.linalg.norm(group_sort(jnp.asarray(x)) - group_sort(jnp.asarray(y)), axis=-1)
    assert np.all(moved <= np.linalg.norm(x - y, axis=-1) * (1 + 1e-6))


@pytest.mark.parametrize("groups", [1, 3])
def test_grouped_layer_is_xlas_grouped_convolution_with_norm_just_under_one(groups):
    layer = LipschitzConv(5, 4, 6, 9, groups, rngs=nnx.Rngs(0))
    norm = operator_norm(layer, 5, 4, 6)
    assert 0.85 < norm <= 1
    kernel = layer.kernel[...] / conv_norm_bound(layer.kernel[...], 5, 4)[:, None, None, None, None]
    x = jax.random.normal(jax.random.key(3), (2, 5, 4, 6))
    expected = jax.lax.conv_general_dilated(
        x,
        jnp.concatenate(list(kernel), axis=-1),
        (1, 1),
        [(0, 1), (0, 1)],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)


def test_conv_layer_names_a_map_of_another_size_and_groups_that_do_not_divide():
    layer = LipschitzConv(5, 4, 2, 2, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"\(5, 4\)"):
        layer(jnp.zeros((1, 4, 4, 2)))
    with pytest.raises(ValueError, match="groups=4"):
        LipschitzConv(5, 4, 6, 8, 4, rngs=nnx.Rngs(0))


def test_layers_stay_under_one_through_a_thousand_updates_that_stretch_them():
    dense = functional(lambda rngs: LipschitzDense(6, 8, rngs=rngs))
    conv = functional(lambda rngs: LipschitzConv(3, 4, 4, 6, 2, rngs=rngs))
    params = {"dense": dense.init(jax.random.key(0)), "conv": conv.init(jax.random.key(1))}
    vectors, maps = (
        jax.random.normal(jax.random.key(2), (16, 6)),
        jax.random.normal(jax.random.key(3), (16, 3, 4, 4)),
    )

    def stretch(p):
        return -jnp.mean(jnp.abs(dense.apply(p["dense"], vectors))) - jnp.mean(
            jnp.square(conv.apply(p["conv"], maps))
        )

    optimizer = optax.adam(1e-2)

    def step(carry, _):
        p, state = carry
        changes, state = optimizer.update(jax.grad(stretch)(p), state)
        return (optax.apply_updates(p, changes), state), None

    (params, _), _ = jax.jit(lambda p: jax.lax.scan(step, (p, optimizer.init(p)), None, length=1000))(params)
    assert 0.95 < operator_norm(lambda x: dense.apply(params["dense"], x), 6) <= 1
    assert 0.8 < operator_norm(lambda x: conv.apply(params["conv"], x), 3, 4, 4) <= 1
