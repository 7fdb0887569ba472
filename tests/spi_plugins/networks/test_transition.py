import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.networks.blocks import DensityShape, from_blocks, group_width, to_blocks
from spi_plugins.networks.functional import functional
from spi_plugins.networks.spectral import conv_norm_bound
from spi_plugins.networks.transition import FlatTransition, MapTransition
from spi_plugins.types import ActionSpec

DISCRETE = ActionSpec(kind="discrete", nvec=(3,))
MIXTURE = DensityShape(components=2, stochastic=True, mixture=True)


def random_params(net):
    """Parameters of the right shapes, biases and logits too; cheaper than to compile the initializers."""
    shapes, rng = jax.eval_shape(net.init, jax.random.key(0)), np.random.default_rng(0)
    return jax.tree.map(lambda x: jnp.asarray(0.5 * rng.standard_normal(x.shape), jnp.float32), shapes)


def convolution(x, kernel, groups=1):
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        [(0, 1), (0, 1)],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


@pytest.mark.parametrize("shape", [(7, 5, 8), (1, 1, 4), (6,)])
def test_blocks_hold_the_latent_and_give_it_back(shape):
    z = jax.random.normal(jax.random.key(0), (3, *shape))
    groups = 2
    blocks = to_blocks(z, groups)
    if len(shape) == 1:
        assert blocks.shape == (1, groups, shape[-1] // groups, 3)
    else:
        assert blocks.shape == (3, groups, shape[-1] // groups, np.prod(shape) // shape[-1])
    np.testing.assert_array_equal(from_blocks(blocks, shape), z)


def test_group_width_is_the_largest_divisor_within_the_limit():
    assert [group_width(c, 4) for c in (64, 6, 7, 3, 2)] == [4, 3, 1, 3, 2]
    assert group_width(10, None) == 10


def test_lipschitz_map_net_is_the_published_stack_of_convolutions_with_normalized_kernels():
    # Rebuilt from XLA's convolutions on all actions' heads, normalized slice by slice.
    height, width, channels, groups, components = 3, 4, 6, 2, 2
    net = functional(
        lambda rngs: MapTransition(
            (height, width, channels), DISCRETE, MIXTURE, lipschitz=True, group_size=3, rngs=rngs
        )
    )
    params = random_params(net)
    z, action = jax.random.normal(jax.random.key(1), (5, height, width, channels)), jnp.array([0, 1, 2, 2, 0])
    out = jax.jit(net.apply)(params, z, action)

    @jax.jit
    def normalized(kernel):
        return kernel / conv_norm_bound(kernel, height, width)

    hidden = convolution(z, normalized(params["hidden_kernel"])) + params["hidden_bias"][None, None, None, :]
    pairs = jnp.sort(jnp.stack([hidden[..., :channels], hidden[..., channels:]]), axis=0)
    block = channels // groups
    for b, a in enumerate(action):
        weights = jax.nn.softmax(params["logits"][a])
        np.testing.assert_allclose(out.log_weights[b], jnp.log(weights), rtol=1e-5)
        for g in range(groups):
            features = jnp.concatenate([pairs[0], pairs[1]], axis=-1).reshape(
                5, height, width, 2, groups, block
            )
            features = features[b, :, :, :, g].reshape(1, height, width, 2 * block)
            kernels = params["head_kernel"][a, g].reshape(2, 2, 2 * block, 2 * components, block)
            biases = params["head_bias"][a, g].reshape(2 * components, block)
            slices = [
                convolution(features, normalized(kernels[:, :, :, s])) + biases[s][None, None, None, :]
                for s in range(2 * components)
            ]
            location = sum(w * x for w, x in zip(weights, slices, strict=False))
            for got, expected in zip(out.blocks[b, g], [location, *slices[components:]], strict=True):
                np.testing.assert_allclose(got, expected[0].reshape(-1, block).T, rtol=1e-3, atol=1e-4)


def test_channels_of_one_group_do_not_depend_on_hidden_features_of_another():
    net = functional(
        lambda rngs: MapTransition((2, 2, 4), DISCRETE, MIXTURE, lipschitz=False, group_size=2, rngs=rngs)
    )
    params = random_params(net)
    z, action = jax.random.normal(jax.random.key(1), (1, 2, 2, 4)), jnp.array([1])
    changed = dict(params, hidden_bias=params["hidden_bias"].at[jnp.array([0, 1, 4, 5])].add(1.0))
    before, after = (jax.jit(net.apply)(p, z, action).scale for p in (params, changed))
    assert np.all(before[:, 1] == after[:, 1])
    assert np.any(before[:, 0] != after[:, 0])


def test_map_net_without_groups_and_bound_is_one_convolution_with_relu():
    deterministic = DensityShape(components=1, stochastic=False, mixture=False)
    net = functional(
        lambda rngs: MapTransition(
            (4, 3, 2), DISCRETE, deterministic, lipschitz=False, group_size=None, rngs=rngs
        )
    )
    params = random_params(net)
    z, action = jax.random.normal(jax.random.key(1), (3, 4, 3, 2)), jnp.array([2, 0, 1])
    out = jax.jit(net.apply)(params, z, action)
    assert set(params) == {"head_kernel", "head_bias"}
    for b, a in enumerate(action):
        mean = convolution(z[b : b + 1], params["head_kernel"][a, 0].reshape(2, 2, 2, 2))
        expected = jax.nn.relu(mean + params["head_bias"][a, 0][None, None, None, :])
        np.testing.assert_allclose(from_blocks(out.loc[b : b + 1, :, 0], (4, 3, 2)), expected, atol=1e-5)


def test_weights_of_components_depend_on_the_latent_only_without_a_bound():
    z = jax.random.normal(jax.random.key(1), (2, 6))
    for lipschitz in (True, False):

        def make(rngs, lipschitz=lipschitz):
            return FlatTransition(
                6, DISCRETE, MIXTURE, lipschitz=lipschitz, group_size=4, hidden_sizes=(8,), rngs=rngs
            )

        net = functional(make)
        weights = jax.jit(net.apply)(random_params(net), z, jnp.array([1, 1])).log_weights
        assert bool(jnp.all(weights[0] == weights[1])) == lipschitz


def test_box_actions_enter_as_constant_channels_inside_the_map():
    box = ActionSpec(kind="box", shape=(2,), low=(-1.0, -1.0), high=(1.0, 1.0))
    net = functional(
        lambda rngs: MapTransition((2, 2, 4), box, MIXTURE, lipschitz=True, group_size=4, rngs=rngs)
    )
    params = random_params(net)
    z, action = jnp.zeros((1, 2, 2, 4)), jnp.array([[0.5, -1.0]])
    moved = dict(params, hidden_bias=params["hidden_bias"] + action[0] @ params["action_kernel"])
    np.testing.assert_allclose(
        jax.jit(net.apply)(params, z, action).blocks,
        jax.jit(net.apply)(moved, z, 0 * action).blocks,
        rtol=1e-5,
        atol=1e-6,
    )
