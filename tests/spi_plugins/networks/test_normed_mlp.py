import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.networks.functional import functional
from spi_plugins.networks.normed_mlp import NormedMLP, layer_norm, mish, simnorm


def make(**kwargs):
    return functional(lambda rngs: NormedMLP(3, (5,), 4, rngs=rngs, **kwargs))


def numpy_mish(x):
    return x * np.tanh(np.log1p(np.exp(x)))


def numpy_norm(x, scale, offset):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-5) * scale + offset


def test_mish_is_its_definition_far_out_as_well():
    x = np.asarray([-80.0, -5.0, -1.0, 0.0, 0.5, 3.0, 19.0, 25.0, 90.0])
    np.testing.assert_allclose(mish(jnp.asarray(x, jnp.float32)), numpy_mish(x), rtol=1e-5, atol=1e-7)
    slope = jax.vmap(jax.grad(mish))(jnp.asarray(x, jnp.float32))
    numeric = (numpy_mish(x + 1e-4) - numpy_mish(x - 1e-4)) / 2e-4
    np.testing.assert_allclose(slope, numeric, rtol=1e-3, atol=1e-5)


def test_simnorm_is_a_softmax_in_each_group():
    x = np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)
    groups = np.exp(x.reshape(2, 2, 3))
    expected = (groups / groups.sum(-1, keepdims=True)).reshape(2, 6)
    np.testing.assert_allclose(simnorm(jnp.asarray(x), 3), expected, rtol=1e-5)


def test_layer_norm_against_numpy():
    x = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    scale, offset = np.asarray([1.0, 2.0, 3.0, 4.0]), np.asarray([0.5, 0.0, -1.0, 2.0])
    got = layer_norm(jnp.asarray(x), jnp.asarray(scale, jnp.float32), jnp.asarray(offset, jnp.float32))
    np.testing.assert_allclose(got, numpy_norm(x, scale, offset), rtol=1e-4, atol=1e-5)


def test_the_network_against_numpy():
    net = make(simnorm_dim=2)
    params = jax.tree.map(np.asarray, net.init(jax.random.key(0)))
    x = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)
    h = numpy_mish(numpy_norm(x @ params["kernel0"] + params["bias0"], 1.0, 0.0))
    y = numpy_norm(h @ params["kernel1"] + params["bias1"], 1.0, 0.0)
    got = net.apply(jax.tree.map(jnp.asarray, params), jnp.asarray(x))
    np.testing.assert_allclose(got, simnorm(jnp.asarray(y), 2), rtol=1e-4)


def test_an_ensemble_is_its_members_side_by_side():
    net, single = make(members=3), make()
    params = net.init(jax.random.key(0))
    x = jnp.asarray(np.random.default_rng(1).normal(size=(6, 3)), jnp.float32)
    together = net.apply(params, x)
    assert together.shape == (3, 6, 4)
    for i in range(3):
        alone = single.apply(jax.tree.map(lambda p, i=i: p[i], params), x)
        np.testing.assert_allclose(together[i], alone, rtol=1e-5, atol=1e-6)


def test_weights_have_the_published_spread_and_biases_are_zero():
    net = functional(lambda rngs: NormedMLP(400, (300,), 50, zero_last=True, rngs=rngs))
    params = net.init(jax.random.key(0))
    assert np.std(params["kernel0"]) == pytest.approx(0.01757, rel=0.01)
    assert np.abs(params["kernel0"]).max() <= 0.04
    assert not np.any(params["kernel1"])
    assert not any(np.any(params[f"bias{i}"]) for i in range(2))


def test_dropout_is_of_the_first_block_only_with_a_key_and_another_for_each_member():
    net = make(members=2, dropout=0.5)
    params = net.init(jax.random.key(0))
    params = jax.tree.map(lambda p: jnp.broadcast_to(p[:1], p.shape), params)  # equal members
    x = jnp.ones((4, 3))
    calm = net.apply(params, x)
    np.testing.assert_array_equal(calm[0], calm[1])
    noisy = net.apply(params, x, jax.random.key(1))
    assert not np.allclose(noisy[0], noisy[1])
    assert not np.allclose(noisy[0, 0], noisy[0, 1])
