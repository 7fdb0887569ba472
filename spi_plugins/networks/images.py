"""Which observations convolutions can read, and in what layout."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Shaped

from spi_plugins.types import ArraySpec


def is_picture(spec: ArraySpec) -> bool:
    """Whether convolutions can read it: an image of bytes, or a gray, colored or stacked image of any numbers."""
    return spec.kind == "image" or (spec.kind == "box" and 2 <= len(spec.shape) <= 4)


def image_size(spec: ArraySpec) -> tuple[int, int, int]:
    """Height, width and channels of an image, however its axes are ordered; a stack has those of all its images."""
    shape = (*spec.shape, 1) if len(spec.shape) == 2 else spec.shape
    height, width, *channels = (shape[axis] for axis in _axes(spec))
    return height, width, math.prod(channels)


def image_axes(spec: ArraySpec) -> tuple[int, int]:
    """The axes of height and width in one image."""
    height, width = _axes(spec)[:2]
    return height, width


def channels_last(spec: ArraySpec, obs: Shaped[Array, " B *S"]) -> Shaped[Array, "B H W C"]:
    """A batch with height, width and all channels as its axes."""
    images = obs[..., None] if len(spec.shape) == 2 else obs
    images = jnp.transpose(images, (0, *(1 + axis for axis in _axes(spec))))
    return images.reshape(-1, *image_size(spec))


def pixel_scale(spec: ArraySpec) -> float:
    """What brings pixels into [0, 1]: 1/255 for bytes and for bounds 0 to 255, and 1 for all other numbers."""
    is_byte = spec.dtype == "uint8" and spec.high > 1
    return 1.0 / 255.0 if spec.kind == "image" or is_byte or (spec.low, spec.high) == (0.0, 255.0) else 1.0


def _axes(spec: ArraySpec) -> tuple[int, ...]:
    """The axes of height and width, then those of the channels.

    Channels come first if their axis is the smallest, which is Stable-Baselines3's rule. The images of a stack are
    along its first axis, as Gymnasium's ``FrameStackObservation`` has them, or else along its last.
    """
    shape = spec.shape
    if len(shape) == 4 and shape[0] > shape[2]:
        return 0, 1, 2, 3
    if len(shape) == 4:
        height, width, channels = (1 + axis for axis in _image_axes(shape[1:]))
        return height, width, 0, channels
    if len(shape) == 2:
        return 0, 1, 2
    if spec.kind == "image":
        return (1, 2, 0) if spec.channels_first else (0, 1, 2)
    return _image_axes(shape)


def _image_axes(shape: tuple[int, ...]) -> tuple[int, int, int]:
    return (1, 2, 0) if int(np.argmin(shape)) == 0 else (0, 1, 2)
