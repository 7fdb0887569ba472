"""Encoders from raw observations to features. Images stay uint8 until here."""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Shaped

from spi_plugins.networks.conv import conv2d
from spi_plugins.networks.images import channels_last, image_size, pixel_scale
from spi_plugins.networks.mlp import MLP
from spi_plugins.types import ArraySpec, Observation, ObservationSpec

# (channels, kernel size, stride) of each layer.
ConvLayers = tuple[tuple[int, int, int], ...]
NATURE_LAYERS: ConvLayers = ((32, 8, 4), (64, 4, 2), (64, 3, 1))  # Mnih et al. (2015)
SMALL_LAYERS: ConvLayers = ((16, 3, 1), (32, 3, 2))  # for images under 36 pixels


def default_conv_layers(spec: ArraySpec) -> ConvLayers:
    """Nature's three layers where they fit, two small ones on smaller images."""
    return NATURE_LAYERS if min(image_size(spec)[:2]) >= 36 else SMALL_LAYERS


def conv_output_shape(spec: ArraySpec, layers: ConvLayers | None) -> tuple[int, int, int]:
    """Shape of the last feature map, by default of ``default_conv_layers``.

    Raises:
        ValueError: the image is too small for the layers.
    """
    height, width, channels = image_size(spec)
    layers = layers or default_conv_layers(spec)
    for channels_out, kernel, stride in layers:
        height, width = ((side - kernel) // stride + 1 for side in (height, width))
        channels = channels_out
        if height < 1 or width < 1:
            raise ValueError(
                f"An image of {image_size(spec)[:2]} pixels is too small for conv_layers={layers}; "
                "give fewer or smaller layers in policy_kwargs=dict(conv_layers=...)."
            )
    return height, width, channels


class ConvEncoder(nnx.Module):
    """Convolutions with ReLU: the encoder of Deep SPI, whose last map is the latent state."""

    def __init__(self, spec: ArraySpec, layers: ConvLayers | None, *, normalize: bool = True, rngs: nnx.Rngs):
        self.spec = spec
        self.normalize = normalize
        self.layers = layers = layers or default_conv_layers(spec)
        channels = image_size(spec)[2]
        for i, (channels_out, size, _) in enumerate(layers):
            # Orthogonal as a [kh·kw·cin, cout] matrix, as in the reference implementations.
            matrix = nnx.initializers.orthogonal(math.sqrt(2))(
                rngs.params(), (size * size * channels, channels_out), jnp.float32
            )
            setattr(self, f"kernel{i}", nnx.Param(matrix.reshape(size, size, channels, channels_out)))
            setattr(self, f"bias{i}", nnx.Param(jnp.zeros((channels_out,), jnp.float32)))
            channels = channels_out

    def __call__(self, obs: Shaped[Array, " B *S"]) -> Float[Array, "B h w c"]:
        """Encode a batch of images."""
        x = channels_last(self.spec, obs)
        for i, (_, _, stride) in enumerate(self.layers):
            kernel, bias = getattr(self, f"kernel{i}")[...], getattr(self, f"bias{i}")[...]
            if i == 0 and self.normalize:
                # Scale the kernel instead of the images, which then stay bytes until the convolution.
                kernel = kernel * pixel_scale(self.spec)
            x = jax.nn.relu(conv2d(x, kernel, stride=stride) + bias[None, None, None, :])
        return x


def flat_size(spec: ArraySpec) -> int:
    """Length of ``flatten`` of one observation."""
    return sum(spec.nvec) if spec.nvec else math.prod(spec.shape)


def flatten(spec: ArraySpec, obs: Shaped[Array, " B *S"], *, normalize: bool = True) -> Float[Array, "B N"]:
    """Turn a batch into vectors: numbers as they are, discrete values as one-hots, images scaled to [0, 1].

    Args:
        spec: of one observation.
        obs: the batch.
        normalize: scale images.
    """
    batch = obs.shape[0]
    if spec.nvec:
        columns = obs.reshape(batch, -1)
        one_hots = [jax.nn.one_hot(columns[:, i], n, dtype=jnp.float32) for i, n in enumerate(spec.nvec)]
        return jnp.concatenate(one_hots, axis=-1)
    scale = 1.0 / 255.0 if spec.kind == "image" and normalize else 1.0
    return obs.reshape(batch, -1).astype(jnp.float32) * scale


def preprocess(spec: ObservationSpec, obs: Observation, *, normalize: bool = True) -> Observation:
    """Turn a batch into floats as SB3 does for extractors: pixels scaled, discrete values as one-hots, shapes kept.

    Args:
        spec: of one observation.
        obs: the batch.
        normalize: scale images.
    """
    if not isinstance(spec, ArraySpec):
        return {key: preprocess(part, obs[key], normalize=normalize) for key, part in spec}
    flat = flatten(spec, obs, normalize=normalize)
    return flat if spec.nvec else flat.reshape(obs.shape)


class CustomExtractor(nnx.Module):
    """A user's module, from ``features_extractor_class``.

    Raises:
        ValueError: it has variables besides parameters, does not return vectors, or not as many features as it says.
    """

    def __init__(
        self,
        spec: ObservationSpec,
        build: Callable[[nnx.Rngs], nnx.Module],
        *,
        normalize: bool,
        rngs: nnx.Rngs,
    ):
        self.spec = spec
        self.normalize = normalize
        self.module: Any = build(rngs)
        name = f"features_extractor_class {type(self.module).__name__}"
        if jax.tree.leaves(nnx.state(self.module, nnx.Not(nnx.Param))):
            raise ValueError(
                f"{name} has variables besides nnx.Param, as BatchNorm and Dropout do; none may."
            )
        parts: Any = (("", spec),) if isinstance(spec, ArraySpec) else spec
        zeros = {
            key: jnp.zeros((2, *part.shape), jax.dtypes.canonicalize_dtype(part.dtype)) for key, part in parts
        }
        out = jax.eval_shape(lambda: self(zeros[""] if isinstance(spec, ArraySpec) else zeros))
        said = getattr(self.module, "features_dim", None)
        if out.ndim != 2 or said not in (None, out.shape[1]):
            wanted = f"[2, {'features_dim' if said is None else said}]"
            raise ValueError(
                f"{name} must turn 2 observations into {wanted} features, got {list(out.shape)}."
            )
        self.features_shape = out.shape[1:]

    def __call__(self, obs: Observation) -> Float[Array, "B N"]:
        """Encode a batch."""
        features: Array = self.module(preprocess(self.spec, obs, normalize=self.normalize))
        return features


class FlattenExtractor(nnx.Module):
    """Flattens the observation, without parameters."""

    def __init__(self, spec: ArraySpec, *, normalize: bool = True):
        self.spec = spec
        self.normalize = normalize
        self.features_shape = (flat_size(spec),)

    def __call__(self, obs: Shaped[Array, " B *S"]) -> Float[Array, "B N"]:
        """Flatten a batch."""
        return flatten(self.spec, obs, normalize=self.normalize)


class ConvExtractor(nnx.Module):
    """The feature map of ``ConvEncoder``."""

    def __init__(self, spec: ArraySpec, layers: ConvLayers | None, *, normalize: bool = True, rngs: nnx.Rngs):
        self.conv = ConvEncoder(spec, layers, normalize=normalize, rngs=rngs)
        self.features_shape = conv_output_shape(spec, layers)

    def __call__(self, obs: Shaped[Array, " B *S"]) -> Float[Array, "B h w c"]:
        """Encode a batch of images."""
        return self.conv(obs)


class CombinedExtractor(nnx.Module):
    """Dict observations: images through convolutions and a dense layer, the rest flattened, all concatenated."""

    def __init__(
        self,
        specs: Sequence[tuple[str, ArraySpec]],
        layers: ConvLayers | None,
        image_features: int,
        *,
        normalize: bool = True,
        rngs: nnx.Rngs,
    ):
        self.specs = tuple(specs)
        self.normalize = normalize
        size = 0
        for key, spec in self.specs:
            if spec.kind == "image":
                n_in = math.prod(conv_output_shape(spec, layers))
                setattr(self, f"conv_{key}", ConvEncoder(spec, layers, normalize=normalize, rngs=rngs))
                setattr(self, f"dense_{key}", MLP(n_in, (image_features,), activation="relu", rngs=rngs))
                size += image_features
            else:
                size += flat_size(spec)
        self.features_shape = (size,)

    def __call__(self, obs: Observation) -> Float[Array, "B N"]:
        """Encode a batch of dicts of arrays."""
        parts = []
        for key, spec in self.specs:
            if spec.kind == "image":
                features = getattr(self, f"conv_{key}")(obs[key])
                parts.append(getattr(self, f"dense_{key}")(features.reshape(features.shape[0], -1)))
            else:
                parts.append(flatten(spec, obs[key], normalize=self.normalize))
        return jnp.concatenate(parts, axis=-1)


Extractor: TypeAlias = FlattenExtractor | ConvExtractor | CombinedExtractor


def make_extractor(
    spec: ObservationSpec,
    layers: ConvLayers | None,
    image_features: int,
    *,
    convolve: bool,
    normalize: bool = True,
    rngs: nnx.Rngs,
) -> Extractor:
    """The extractor of a Dict, or of one array; without ``layers``, an image's size chooses its convolutions."""
    if not isinstance(spec, ArraySpec):
        return CombinedExtractor(spec, layers, image_features, normalize=normalize, rngs=rngs)
    if convolve:
        return ConvExtractor(spec, layers, normalize=normalize, rngs=rngs)
    return FlattenExtractor(spec, normalize=normalize)
