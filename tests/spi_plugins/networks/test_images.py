"""Images in every layout and dtype reach the convolutions as the same pixels."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from gymnasium import spaces

from spi_plugins.networks.encoders import ConvEncoder
from spi_plugins.networks.images import channels_last, image_size, is_picture
from spi_plugins.spaces import observation_spec

PIXELS = np.random.default_rng(0).integers(256, size=(12, 14, 4, 3), dtype=np.uint8)
LAYOUTS = {
    "gray": ((0, 1), lambda x: x[:, :, :1, 0]),
    "channels last": ((0, 1, 2), lambda x: x[:, :, 0]),
    "channels first": ((2, 0, 1), lambda x: x[:, :, 0]),
    "stack, channels last": ((2, 0, 1, 3), lambda x: x),
    "stack, channels first": ((2, 3, 0, 1), lambda x: x),
    "stack at the end": ((0, 1, 3, 2), lambda x: x),
}


@pytest.mark.parametrize("kind", LAYOUTS)
def test_every_layout_has_its_channels_last(kind):
    order, cut = LAYOUTS[kind]
    plain = PIXELS[:, :, 0, 0] if kind == "gray" else cut(PIXELS)
    image = np.transpose(plain, order)
    spec = observation_spec(spaces.Box(0, 255, image.shape, np.uint8))
    assert is_picture(spec)
    want = np.transpose(plain, (0, 1, 3, 2)) if kind == "stack at the end" else plain
    want = want.reshape(12, 14, -1)
    assert image_size(spec) == want.shape
    np.testing.assert_array_equal(channels_last(spec, jnp.asarray(image[None]))[0], want)


@pytest.mark.parametrize(
    ("high", "dtype", "divisor"),
    [(255, np.uint8, 1), (255, np.float32, 1), (1, np.float32, 255), (np.inf, np.float32, 255)],
)
def test_bytes_and_numbers_are_the_same_pixels(high, dtype, divisor):
    image = PIXELS[:, :, 0]
    spec = observation_spec(spaces.Box(0, 255, image.shape, np.uint8))
    encoder = ConvEncoder(spec, ((4, 3, 2),), rngs=nnx.Rngs(0))
    want = encoder(jnp.asarray(image[None]))
    encoder.spec = observation_spec(spaces.Box(0, high, image.shape, dtype))
    got = encoder(jnp.asarray((image / divisor).astype(dtype)[None]))
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_vectors_and_counts_are_not_pictures():
    assert not is_picture(observation_spec(spaces.Box(0, 1, (5,))))
    assert not is_picture(observation_spec(spaces.MultiDiscrete([[2, 2]])))
    five = observation_spec(spaces.Box(0, 1, (2, 2, 2, 2, 2)))
    assert not is_picture(five)
    assert is_picture(dataclasses.replace(five, shape=(2, 2, 2, 2)))
