"""TD-MPC2's reading of images, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from spi_plugins.networks.pixels import PixelEncoder, pixel_layers, shift_images
from spi_plugins.types import ArraySpec

TINY = ((4, 3, 2), (2, 2, 1))


def image(*shape, **kwargs):
    return ArraySpec(kind="image", shape=shape, dtype="uint8", low=0.0, high=255.0, **kwargs)


def convolved(x, kernel, stride):
    size = kernel.shape[0]
    rows = range(0, x.shape[0] - size + 1, stride)
    return np.array(
        [[np.einsum("ijc,ijco->o", x[r : r + size, c : c + size], kernel) for c in rows] for r in rows]
    )


@pytest.mark.parametrize("latent_dim", [8, 16])  # the convolutions leave 8 features
def test_the_encoder_is_convolutions_of_centered_pixels_and_simnorm(latent_dim):
    spec = image(7, 7, 3)
    encoder = PixelEncoder(spec, TINY, latent_dim, 4, rngs=nnx.Rngs(0))
    pixels = np.random.default_rng(0).integers(0, 256, (7, 7, 3), np.uint8)
    kernels = [np.asarray(getattr(encoder, f"kernel{i}")[...], np.float64) for i in range(2)]
    biases = [np.asarray(getattr(encoder, f"bias{i}")[...], np.float64) for i in range(2)]
    hidden = np.maximum(convolved(pixels / 255.0 - 0.5, kernels[0], 2) + biases[0], 0.0)
    features = (convolved(hidden, kernels[1], 1) + biases[1]).ravel()
    if latent_dim != features.size:
        features = features @ np.asarray(encoder.dense.kernel0[...], np.float64)
        features = (features - features.mean()) / np.sqrt(features.var() + 1e-5)
    groups = np.exp(features.reshape(-1, 4))
    expected = (groups / groups.sum(axis=1, keepdims=True)).ravel()
    np.testing.assert_allclose(encoder(jnp.asarray(pixels)[None])[0], expected, atol=1e-5)


def test_images_of_64_pixels_leave_the_latent_of_the_paper():
    encoder = nnx.eval_shape(
        lambda: PixelEncoder(image(9, 64, 64, channels_first=True), None, 512, 8, rngs=nnx.Rngs(0))
    )
    assert not hasattr(encoder, "dense")
    assert encoder.kernel0.shape == (7, 7, 9, 32)
    assert len(pixel_layers(image(39, 39, 1))) == 4
    assert len(pixel_layers(image(35, 39, 1))) == 2  # smaller ones


@pytest.mark.parametrize("spec", [image(6, 5, 2), image(2, 6, 5, channels_first=True)], ids=["last", "first"])
def test_a_shift_moves_all_channels_alike_and_repeats_the_border(spec):
    axes = (1, 2) if spec.channels_first else (0, 1)
    pixels = np.random.default_rng(1).integers(0, 256, (40, *spec.shape), np.uint8)
    shifted = np.asarray(shift_images(spec, jnp.asarray(pixels), 2, jax.random.key(0)))
    assert shifted.dtype == np.uint8
    widths = [(2, 2) if axis in axes else (0, 0) for axis in range(3)]
    seen = set()
    for before, after in zip(pixels, shifted, strict=True):
        padded = np.pad(before, widths, mode="edge")
        crops = {}
        for row in range(5):
            for column in range(5):
                where = [slice(None)] * 3
                where[axes[0]], where[axes[1]] = slice(row, row + 6), slice(column, column + 5)
                crops[row, column] = padded[tuple(where)]
        found = [place for place, crop in crops.items() if np.array_equal(crop, after)]
        assert len(found) == 1
        seen.add(found[0])
    assert {row for row, _ in seen} == {column for _, column in seen} == set(range(5))


def test_of_a_dict_only_images_are_shifted():
    spec = (("image", image(6, 6, 1)), ("vector", ArraySpec(kind="box", shape=(3,), dtype="float32")))
    pixels = np.random.default_rng(1).integers(0, 256, (8, 6, 6, 1), np.uint8)
    obs = {"image": jnp.asarray(pixels), "vector": jnp.ones((8, 3))}
    shifted = shift_images(spec, obs, 2, jax.random.key(0))
    np.testing.assert_array_equal(shifted["vector"], obs["vector"])
    assert not np.array_equal(shifted["image"], obs["image"])
