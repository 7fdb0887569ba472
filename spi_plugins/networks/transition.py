"""Networks that turn a latent and an action into the parameters of the next latent's density.

All of them speak one *block layout*: an entry of the next latent is ``[B, G, C, M]``, ``G`` feature groups of
``C`` channels at ``M`` places. A flat latent has one place, and there its batch stands: ``[1, G, C, B]``.
Elementwise work then runs over contiguous places or samples.

Work of a sample's forward pass on a map of ``M = h w`` places and ``c`` channels, in groups of ``d``
channels, with ``n`` density slices and any number of actions, in multiply-adds: hidden convolution ``8 M
c^2``, chosen head ``8 M c d n``. For 7 x 7 x 64, ``d = 4`` and the default mixture (5 scales and one blended
location, ``n = 6``) that is
1.61 M + 0.60 M: 4.4 MFLOP forward, 13.2 MFLOP with both gradients. The published code computes 10 slices of
every action: ``80 M c d A``, 4.0 M multiply-adds for 4 actions and 18.1 M for 18.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from spi_plugins.networks.dense import DenseTrunk
from spi_plugins.networks.heads import (
    action_features,
    chosen,
    chosen_heads,
    chosen_heads_batch_last,
    chosen_rows,
    head_count,
)
from spi_plugins.networks.lipschitz import lecun_normal
from spi_plugins.networks.patches import map_patches, plane_patches
from spi_plugins.networks.spectral import conv_norm_bound, dense_norm_bound
from spi_plugins.types import ActionSpec


class DensityShape(NamedTuple):
    """What a transition net must emit.

    Attributes:
        components: mixture components ``K``; 1 without a mixture.
        stochastic: a scale beside each location.
        mixture: weights of the components too.
    """

    components: int
    stochastic: bool
    mixture: bool

    @property
    def slices(self) -> int:
        """Outputs for each entry of the latent."""
        return self.components * (2 if self.stochastic else 1)


class DensityOutputs(NamedTuple):
    """Outputs of a transition net without a Lipschitz bound, in the block layout.

    Attributes:
        loc: means of the components.
        scale: standard deviations before softplus; ``None`` for a deterministic net.
        log_weights: of the components, normalized; ``None`` without a mixture.
    """

    loc: Float[Array, "b G K C M"]
    scale: Float[Array, "b G K C M"] | None
    log_weights: Float[Array, "B K"] | None


class LipschitzOutputs(NamedTuple):
    """Outputs of a Lipschitz transition net, in the block layout.

    Attributes:
        blocks: the location, of all components together, and the ``K`` scales before softplus (none for a
            deterministic net). One array: the gradients of parts would be padded and added, at several times
            the cost.
        log_weights: of the components, normalized; ``None`` without a mixture.
    """

    blocks: Float[Array, "b G 1+K C M"]
    log_weights: Float[Array, "B K"] | None


def group_width(channels: int, group_size: int | None) -> int:
    """Channels in each feature group: the largest divisor of ``channels`` not above ``group_size``."""
    if group_size is None:
        return channels
    return max(d for d in range(1, min(group_size, channels) + 1) if channels % d == 0)


def to_blocks(z: Float[Array, " B *z"], groups: int) -> Float[Array, "b G C M"]:
    """A latent in the block layout."""
    if z.ndim == 2:
        return z.T.reshape(1, groups, -1, z.shape[0])
    batch, channels = z.shape[0], z.shape[-1]
    planes = jnp.swapaxes(z.reshape(batch, -1, channels), 1, 2)
    return planes.reshape(batch, groups, channels // groups, -1)


def from_blocks(blocks: Float[Array, "b G C M"], latent_shape: tuple[int, ...]) -> Float[Array, " B *z"]:
    """A latent in its own shape."""
    if len(latent_shape) == 1:
        return blocks.reshape(latent_shape[0], -1).T
    batch, channels = blocks.shape[0], latent_shape[-1]
    return jnp.swapaxes(blocks.reshape(batch, channels, -1), 1, 2).reshape(batch, *latent_shape)


def in_blocks(weights: Float[Array, "B K"], batch: int) -> Float[Array, "b 1 K 1 m"]:
    """Weights of components, to be multiplied with blocks ``[batch, G, K, C, M]``; see the layout above."""
    if weights.shape[0] == batch:
        return weights[:, None, :, None, None]
    return weights.T[None, None, :, None, :]


class MapTransition(nnx.Module):
    """Transition net on maps: a 2x2 convolution to ``2 c`` features, then a grouped 2x2 one for each action.

    With ``lipschitz`` both convolutions have operator norm at most 1, each density slice (component and
    location or scale) by itself, the nonlinearity is GroupSort, and the mixture's weights depend on the
    action only. Otherwise ReLU, free kernels, ReLU on the location, and weights from logits linear in the
    latent. Without feature groups and without ``lipschitz`` there is no hidden layer, only the head's
    convolution.

    Args:
        latent_shape: ``(h, w, c)``.
        action_spec: discrete actions choose a head; others enter the first layer as constant channels.
        density: what to emit.
        lipschitz: see above.
        group_size: channels of a feature group, see ``group_width``; ``None`` is one group of all. Channels
            of the next latent depend on the hidden features of their own group only.
        rngs: source of the initial kernels, LeCun-normal.
    """

    def __init__(
        self,
        latent_shape: tuple[int, int, int],
        action_spec: ActionSpec,
        density: DensityShape,
        *,
        lipschitz: bool,
        group_size: int | None,
        rngs: nnx.Rngs,
    ) -> None:
        height, width, channels = latent_shape
        block = group_width(channels, group_size)
        self.groups = channels // block
        self.latent_shape, self.action_spec = latent_shape, action_spec
        self.density, self.lipschitz = density, lipschitz
        self.deep = lipschitz or group_size is not None
        actions = head_count(action_spec)
        features = (2 if self.deep else 1) * channels
        if self.deep:
            self.hidden_kernel = nnx.Param(lecun_normal(rngs.params(), (2, 2, channels, features)))
            self.hidden_bias = nnx.Param(jnp.zeros((features,)))
        # [actions, groups, (row, column, feature), (slice, channel)]
        n_in, n_out = 4 * features // self.groups, density.slices * block
        self.head_kernel = nnx.Param(_stacked_normal(rngs.params(), actions, self.groups, n_in, n_out))
        self.head_bias = nnx.Param(jnp.zeros((actions, self.groups, n_out)))
        if action_spec.kind != "discrete":
            into = features if self.deep else self.groups * n_out
            self.action_kernel = nnx.Param(lecun_normal(rngs.params(), (action_spec.size, into)))
        if density.mixture:
            self.logits = nnx.Param(jnp.zeros((actions, density.components)))
            if not lipschitz:
                kernels = _stacked_normal(
                    rngs.params(), actions, 1, height * width * channels, density.components
                )
                self.logit_kernel = nnx.Param(kernels[:, 0])

    def _heads(self) -> tuple[Float[Array, "A G O I"], Float[Array, "A G O"]]:
        """Kernels and biases of the heads, normalized and blended if ``lipschitz``."""
        kernel, bias = self.head_kernel[...], self.head_bias[...]
        if self.lipschitz:
            height, width, _ = self.latent_shape
            actions, groups, n_in, _ = kernel.shape
            sliced = kernel.reshape(actions, groups, 2, 2, n_in // 4, self.density.slices, -1)
            bound = conv_norm_bound(jnp.moveaxis(sliced, 5, 2), height, width)
            sliced = sliced / bound[:, :, None, None, None, :, None]
            kernel = _blend_locations(sliced.reshape(*kernel.shape[:3], self.density.slices, -1), self)
            bias = _blend_locations(bias.reshape(actions, groups, 1, self.density.slices, -1), self)[:, :, 0]
        return jnp.swapaxes(kernel, -1, -2), bias

    def _hidden(
        self, z: Float[Array, "B H W C"], shift: Float[Array, "B S"] | None
    ) -> Float[Array, "B G F M"]:
        """Hidden features by group: of its channels i, features i and i + c, the two of a sorted pair."""
        height, width, channels = self.latent_shape
        kernel = self.hidden_kernel[...]
        if self.lipschitz:
            kernel = kernel / conv_norm_bound(kernel, height, width)
        batch, groups = z.shape[0], self.groups
        hidden = (map_patches(z) @ kernel.reshape(4 * channels, -1)).reshape(batch, height * width, -1)
        planes = jnp.swapaxes(hidden, 1, 2) + self.hidden_bias[...][None, :, None]
        if shift is not None:
            planes = planes + shift[..., None]
        left, right = planes[:, :channels], planes[:, channels:]
        if self.lipschitz:
            left, right = jnp.minimum(left, right), jnp.maximum(left, right)
        else:
            left, right = jax.nn.relu(left), jax.nn.relu(right)
        blocks = (batch, groups, channels // groups, height * width)
        return jnp.concatenate([left.reshape(blocks), right.reshape(blocks)], axis=2)

    def __call__(self, z: Float[Array, "B H W C"], action: Array) -> DensityOutputs | LipschitzOutputs:
        """Density parameters for latents and actions (see ``heads`` for the forms of an action)."""
        batch = z.shape[0]
        index = action if self.action_spec.kind == "discrete" else None
        shift = None
        if index is None:
            shift = action_features(self.action_spec, action) @ self.action_kernel[...]
        planes = self._hidden(z, shift) if self.deep else to_blocks(z, 1)
        raw = chosen_heads(plane_patches(planes, self.latent_shape[1]), *self._heads(), index)
        if shift is not None and not self.deep:
            raw = raw + shift[:, None, :, None]
        logits = None
        if self.density.mixture:
            logits = chosen(self.logits[...], index, batch)
            if not self.lipschitz:
                scores = jnp.einsum("bi,aik->bak", z.reshape(batch, -1), self.logit_kernel[...])
                logits = logits + chosen_rows(scores, index)
        return _outputs(raw, logits, self, rectify=True)


class FlatTransition(nnx.Module):
    """Transition net on vectors: dense layers, then a dense head for each action and feature group.

    With ``lipschitz`` every layer, and every density slice of the head, has norm at most 1, with GroupSort
    between, and the mixture's weights depend on the action only. Otherwise ReLU between, and weights from the
    last hidden layer too. No activation on the location.

    Args:
        size: length of the latent.
        action_spec: discrete actions choose a head; others are appended to the latent.
        density: what to emit.
        lipschitz: see above.
        group_size: entries of a feature group, see ``group_width``; ``None`` is one group of all. Entries of
            the next latent depend on the hidden features of their own group only, all of which depend on the
            whole latent.
        hidden_sizes: widths of the dense layers, at least one. The last is rounded up to fill the groups.
        rngs: source of the initial kernels, LeCun-normal.
    """

    def __init__(
        self,
        size: int,
        action_spec: ActionSpec,
        density: DensityShape,
        *,
        lipschitz: bool,
        group_size: int | None,
        hidden_sizes: tuple[int, ...],
        rngs: nnx.Rngs,
    ) -> None:
        self.action_spec, self.density, self.lipschitz = action_spec, density, lipschitz
        block = group_width(size, group_size)
        self.groups = size // block
        n_in = -(-hidden_sizes[-1] // self.groups)
        n_out = density.slices * block
        actions, last = head_count(action_spec), n_in * self.groups
        appended = 0 if action_spec.kind == "discrete" else action_spec.size
        self.trunk = DenseTrunk(size, appended, (*hidden_sizes[:-1], last), lipschitz=lipschitz, rngs=rngs)
        self.head_kernel = nnx.Param(_stacked_normal(rngs.params(), actions, self.groups, n_in, n_out))
        self.head_bias = nnx.Param(jnp.zeros((actions, self.groups, n_out)))
        if density.mixture:
            self.logits = nnx.Param(jnp.zeros((actions, density.components)))
            if not lipschitz:
                kernels = _stacked_normal(rngs.params(), actions, 1, last, density.components)
                self.logit_kernel = nnx.Param(kernels[:, 0])

    def _heads(self) -> tuple[Float[Array, "A G O I"], Float[Array, "A G O"]]:
        """Kernels and biases of the heads, normalized and blended if ``lipschitz``."""
        kernel, bias = self.head_kernel[...], self.head_bias[...]
        if self.lipschitz:
            sliced = kernel.reshape(*kernel.shape[:3], self.density.slices, -1)
            bound = dense_norm_bound(jnp.moveaxis(sliced, 3, 2))
            kernel = _blend_locations(sliced / bound[:, :, None, :, None], self)
            bias = bias.reshape(*bias.shape[:2], 1, self.density.slices, -1)
            bias = _blend_locations(bias, self)[:, :, 0]
        return jnp.swapaxes(kernel, -1, -2), bias

    def __call__(self, z: Float[Array, "B Z"], action: Array) -> DensityOutputs | LipschitzOutputs:
        """Density parameters for latents and actions (see ``heads`` for the forms of an action)."""
        discrete = self.action_spec.kind == "discrete"
        hidden = self.trunk(z, None if discrete else action_features(self.action_spec, action))
        index = action if discrete else None
        raw = chosen_heads_batch_last(hidden.T.reshape(self.groups, -1, z.shape[0]), *self._heads(), index)
        logits = None
        if self.density.mixture:
            logits = chosen(self.logits[...], index, z.shape[0])
            if not self.lipschitz:
                scores = jnp.einsum("bi,aik->bak", hidden, self.logit_kernel[...])
                logits = logits + chosen_rows(scores, index)
        return _outputs(raw[None], logits, self, rectify=False)


def _stacked_normal(key: Array, actions: int, groups: int, n_in: int, n_out: int) -> Float[Array, "A G I O"]:
    """LeCun-normal kernels for each action and group, with the fan-in of one."""
    keys = jax.random.split(key, actions * groups)
    return jax.vmap(lambda k: lecun_normal(k, (n_in, n_out)))(keys).reshape(actions, groups, n_in, n_out)


def _blend_locations(
    sliced: Float[Array, "A G I S C"], net: MapTransition | FlatTransition
) -> Float[Array, "A G I O"]:
    """Average the locations' slices by the components' weights, which depend on the action only.

    An average of convolutions is a convolution with the averaged kernel, and no longer than the longest: five
        heads
    for the price of one. Scales stay apart, each has noise of its own.
    """
    components = net.density.components
    if net.density.mixture:
        weights = jax.nn.softmax(net.logits[...])
        location = jnp.einsum("ak,agikc->agic", weights, sliced[..., :components, :])[..., None, :]
        sliced = jnp.concatenate([location, sliced[..., components:, :]], axis=-2)
    return sliced.reshape(*sliced.shape[:3], -1)


def _outputs(
    raw: Float[Array, "b G O M"],
    logits: Float[Array, "B K"] | None,
    net: MapTransition | FlatTransition,
    *,
    rectify: bool,
) -> DensityOutputs | LipschitzOutputs:
    """Heads' outputs, ordered (location or scale, component, channel), as density parameters."""
    log_weights = None if logits is None else jax.nn.log_softmax(logits)
    components, places = net.density.components, raw.shape[-1]
    slices = (1 if net.lipschitz else components) + (components if net.density.stochastic else 0)
    blocks = raw.reshape(*raw.shape[:2], slices, -1, places)
    if net.lipschitz:
        return LipschitzOutputs(blocks, log_weights)
    loc = blocks[:, :, :components]
    return DensityOutputs(
        loc=jax.nn.relu(loc) if rectify else loc,
        scale=blocks[:, :, components:] if net.density.stochastic else None,
        log_weights=log_weights,
    )
