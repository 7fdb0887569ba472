"""The block layout of transition nets, and what the nets return in it.

An entry of the next latent is at ``[B, G, C, M]``: ``G`` feature groups of ``C`` channels at ``M`` places. A flat
latent has a single place, so its batch takes that axis: ``[1, G, C, B]``. Elementwise work then runs over contiguous
places or samples.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float


class DensityShape(NamedTuple):
    """What a transition net must return."""

    components: int  # mixture components ``K``; 1 without a mixture
    stochastic: bool  # whether each location comes with a scale
    mixture: bool  # whether the components come with weights
    scale_of_latent: bool = True  # whether the scales depend on the latent, or on the action alone

    @property
    def predicted_scales(self) -> int:
        """Scales for each entry of the latent that the net computes from the latent."""
        return self.components if self.stochastic and self.scale_of_latent else 0

    @property
    def slices(self) -> int:
        """Outputs for each entry of the latent."""
        return self.components + self.predicted_scales


class DensityOutputs(NamedTuple):
    """Outputs of a transition net without a Lipschitz bound, in the block layout."""

    loc: Float[Array, "b G K C M"]  # means of the components
    # Standard deviations before softplus; ``None`` for a deterministic net
    scale: Float[Array, "b G K C M"] | None
    # Normalized log weights of the components; ``None`` without a mixture
    log_weights: Float[Array, "B K"] | None


class LipschitzOutputs(NamedTuple):
    """Outputs of a Lipschitz transition net, in the block layout.

    Attributes:
        blocks: one location for all components, then the ``K`` scales before softplus, if they depend on the latent.
            They are one array because gradients of separate parts would be padded and added, at several times the
            cost.
        log_weights: normalized log weights of the components; ``None`` without a mixture.
        scale: the scales before softplus, if they depend on the action alone.
    """

    blocks: Float[Array, "b G S C M"]
    log_weights: Float[Array, "B K"] | None
    scale: Float[Array, "b G K C m"] | None = None


def group_width(channels: int, group_size: int | None) -> int:
    """Channels in each feature group: the largest divisor of ``channels`` up to ``group_size``."""
    if group_size is None:
        return channels
    return max(d for d in range(1, min(group_size, channels) + 1) if channels % d == 0)


def to_blocks(z: Float[Array, " B *z"], groups: int) -> Float[Array, "b G C M"]:
    """Bring a latent into the block layout."""
    if z.ndim == 2:
        return z.T.reshape(1, groups, -1, z.shape[0])
    batch, channels = z.shape[0], z.shape[-1]
    planes = jnp.swapaxes(z.reshape(batch, -1, channels), 1, 2)
    return planes.reshape(batch, groups, channels // groups, -1)


def from_blocks(blocks: Float[Array, "b G C M"], latent_shape: tuple[int, ...]) -> Float[Array, " B *z"]:
    """Bring a latent back into its own shape."""
    if len(latent_shape) == 1:
        return blocks.reshape(latent_shape[0], -1).T
    batch, channels = blocks.shape[0], latent_shape[-1]
    return jnp.swapaxes(blocks.reshape(batch, channels, -1), 1, 2).reshape(batch, *latent_shape)


def in_blocks(weights: Float[Array, "B K"], batch: int) -> Float[Array, "b 1 K 1 m"]:
    """Reshape the components' weights so that they multiply blocks ``[batch, G, K, C, M]``."""
    if weights.shape[0] == batch:
        return weights[:, None, :, None, None]
    return weights.T[None, None, :, None, :]
