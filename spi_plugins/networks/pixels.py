"""Images as TD-MPC2 (arXiv:2310.16828, appendix H, and its code) reads them: four convolutions, and random shifts."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Shaped

from spi_plugins.networks.conv import conv2d
from spi_plugins.networks.encoders import ConvLayers, conv_output_shape, default_conv_layers
from spi_plugins.networks.images import channels_last, image_axes, image_size, pixel_scale
from spi_plugins.networks.normed_mlp import NormedMLP, simnorm
from spi_plugins.types import ArraySpec, Observation, ObservationSpec

TDMPC2_LAYERS: ConvLayers = ((32, 7, 2), (32, 5, 2), (32, 3, 2), (32, 3, 1))
_SMALLEST = 39  # pixels of a side that these layers leave something of


def pixel_layers(spec: ArraySpec) -> ConvLayers:
    """TD-MPC2's layers where they fit, the small ones of ``encoders`` on smaller images."""
    return TDMPC2_LAYERS if min(image_size(spec)[:2]) >= _SMALLEST else default_conv_layers(spec)


class PixelEncoder(nnx.Module):
    """Pixels in [-0.5, 0.5], convolutions with ReLU between them, SimNorm on what the last one gives.

    TD-MPC2's images have 64 pixels a side and leave 512 features, its latent. Where an image leaves another number than
    ``latent_dim``, a dense layer with layer norm comes before SimNorm.
    """

    def __init__(
        self,
        spec: ArraySpec,
        layers: ConvLayers | None,
        latent_dim: int,
        simnorm_dim: int,
        *,
        rngs: nnx.Rngs,
    ):
        self.spec, self.simnorm_dim = spec, simnorm_dim
        self.layers = layers = layers or pixel_layers(spec)
        channels = image_size(spec)[2]
        for i, (channels_out, size, _) in enumerate(layers):
            # PyTorch's default, which TD-MPC2 leaves to convolutions.
            bound = 1.0 / math.sqrt(size * size * channels)
            for name, shape in (("kernel", (size, size, channels, channels_out)), ("bias", (channels_out,))):
                drawn = jax.random.uniform(rngs.params(), shape, minval=-bound, maxval=bound)
                setattr(self, f"{name}{i}", nnx.Param(drawn))
            channels = channels_out
        features = math.prod(conv_output_shape(spec, layers))
        if features != latent_dim:
            self.dense = NormedMLP(features, (), latent_dim, simnorm_dim=simnorm_dim, rngs=rngs)

    def __call__(self, obs: Shaped[Array, " B *S"]) -> Float[Array, "B Z"]:
        """Encode a batch of images."""
        x = channels_last(self.spec, obs)
        for i, (_, _, stride) in enumerate(self.layers):
            kernel, bias = getattr(self, f"kernel{i}")[...], getattr(self, f"bias{i}")[...]
            if i == 0:
                # Scale and move the layer instead of the images, which stay bytes until the convolution.
                bias = bias - 0.5 * jnp.sum(kernel, axis=(0, 1, 2))
                kernel = kernel * pixel_scale(self.spec)
            else:
                x = jax.nn.relu(x)
            x = conv2d(x, kernel, stride=stride) + bias[None, None, None, :]
        x = x.reshape(len(x), -1)
        return self.dense(x) if hasattr(self, "dense") else simnorm(x, self.simnorm_dim)


def has_images(spec: ObservationSpec) -> bool:
    """Whether observations are images, or contain some."""
    parts = (spec,) if isinstance(spec, ArraySpec) else tuple(part for _, part in spec)
    return any(part.kind == "image" for part in parts)


def shift_images(spec: ObservationSpec, obs: Observation, pad: int, key: Array) -> Observation:
    """Shift each image of a batch by up to ``pad`` pixels along height and width, drawn for each; all else stays.

    The pixels at the border are repeated where the image came from (DrQ-v2, arXiv:2107.09645). The frames of a stack
    are shifted together. Bytes stay bytes.

    Args:
        spec: of one observation, an image or a Dict.
        obs: the batch ``[B, ...]``.
        pad: at least 0.
        key: the draws.
    """
    if isinstance(spec, ArraySpec):
        return _shifted(spec, obs, pad, key) if spec.kind == "image" else obs
    keys = jax.random.split(key, len(spec))
    return {
        name: shift_images(part, obs[name], pad, part_key)
        for (name, part), part_key in zip(spec, keys, strict=True)
    }


def _shifted(spec: ArraySpec, images: Array, pad: int, key: Array) -> Array:
    axes = image_axes(spec)
    offsets = jax.random.randint(key, (2, len(images)), -pad, pad + 1)

    def shift(image: Array, *offset: Array) -> Array:
        for axis, step in zip(axes, offset, strict=True):
            places = jnp.clip(jnp.arange(image.shape[axis]) + step, 0, image.shape[axis] - 1)
            image = jnp.take(image, places, axis=axis, mode="clip")
        return image

    return jax.vmap(shift)(images, *offsets)
