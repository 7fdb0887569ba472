"""Networks that turn a latent and an action into the parameters of the next latent's density.

They return the block layout of ``blocks``. With ``lipschitz``, every layer is divided by a certified bound of its
operator norm: ``spectral.conv_norm_bound`` on maps, ``spectral.dense_norm_bound`` on vectors.

Cost of a sample's forward pass on a map of ``M = h w`` places and ``c`` channels, in groups of ``d`` channels, with
``n`` density slices and any number of actions, in multiply-adds: ``8 M c^2`` for the hidden convolution and
``8 M c d n`` for the chosen head. For 7 x 7 x 64, ``d = 4`` and the default mixture (5 scales and one blended
location, ``n = 6``) that is 1.61 M + 0.60 M: 4.4 MFLOP forward, 13.2 MFLOP with both gradients. The published code
computes 10 slices of every action: ``80 M c d A``, 4.0 M multiply-adds for 4 actions and 18.1 M for 18.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from spi_plugins.networks import heads
from spi_plugins.networks.blocks import (
    DensityOutputs,
    DensityShape,
    LipschitzOutputs,
    group_width,
    to_blocks,
)
from spi_plugins.networks.dense import DenseTrunk, lecun_normal
from spi_plugins.networks.patches import map_patches, plane_patches
from spi_plugins.networks.spectral import conv_norm_bound, dense_norm_bound
from spi_plugins.types import ActionSpec


class _TransitionNet(nnx.Module):
    """What both nets share: a head for each action and feature group, and the mixture's weights."""

    def __init__(
        self, action_spec: ActionSpec, density: DensityShape, groups: int, *, lipschitz: bool
    ) -> None:
        self.action_spec, self.density = action_spec, density
        self.groups, self.lipschitz = groups, lipschitz
        self.n_actions = heads.head_count(action_spec)

    def _add_heads(self, n_in: int, n_out: int, rngs: nnx.Rngs) -> None:
        self.head_kernel = nnx.Param(_stacked_normal(rngs.params(), self.n_actions, self.groups, n_in, n_out))
        self.head_bias = nnx.Param(jnp.zeros((self.n_actions, self.groups, n_out)))
        if self.density.stochastic and not self.density.scale_of_latent:
            block = n_out // self.density.slices
            self.scale = nnx.Param(jnp.zeros((self.n_actions, self.groups, self.density.components, block)))

    def _add_mixture(self, n_in: int, rngs: nnx.Rngs) -> None:
        components = self.density.components
        if self.density.mixture:
            self.logits = nnx.Param(jnp.zeros((self.n_actions, components)))
            if not self.lipschitz:
                kernels = _stacked_normal(rngs.params(), self.n_actions, 1, n_in, components)
                self.logit_kernel = nnx.Param(kernels[:, 0])

    def _split_action(self, action: Array) -> tuple[Array | None, Array | None]:
        """The index of the head for a discrete action, the features of the first layer for any other."""
        if self.action_spec.kind == "discrete":
            return action, None
        return None, heads.action_features(self.action_spec, action)

    def _bound(self, slices: Float[Array, "A G S I C"]) -> Float[Array, "A G S"]:
        """Bound the operator norm of each density slice of the heads."""
        return dense_norm_bound(slices)

    def _heads(self) -> tuple[Float[Array, "A G O I"], Float[Array, "A G O"]]:
        """Kernels and biases of the heads, normalized and blended if ``lipschitz``."""
        kernel, bias = self.head_kernel[...], self.head_bias[...]
        if self.lipschitz:
            sliced = kernel.reshape(*kernel.shape[:3], self.density.slices, -1)
            bound = self._bound(jnp.moveaxis(sliced, 3, 2))
            kernel = self._blend_locations(sliced / bound[:, :, None, :, None])
            bias = bias.reshape(*bias.shape[:2], 1, self.density.slices, -1)
            bias = self._blend_locations(bias)[:, :, 0]
        return jnp.swapaxes(kernel, -1, -2), bias

    def _blend_locations(self, sliced: Float[Array, "A G I S C"]) -> Float[Array, "A G I O"]:
        """Average the locations' slices by the components' weights, which depend on the action only.

        An average of convolutions is a convolution with the averaged kernel, and its norm is at most the largest: five
        heads for the price of one. Scales stay separate, because each has its own noise.
        """
        components = self.density.components
        if self.density.mixture:
            weights = jax.nn.softmax(self.logits[...])
            location = jnp.einsum("ak,agikc->agic", weights, sliced[..., :components, :])[..., None, :]
            sliced = jnp.concatenate([location, sliced[..., components:, :]], axis=-2)
        return sliced.reshape(*sliced.shape[:3], -1)

    def _log_weights(self, x: Float[Array, "B I"], index: Array | None) -> Float[Array, "B K"] | None:
        if not self.density.mixture:
            return None
        logits = heads.chosen(self.logits[...], index, len(x))
        if not self.lipschitz:
            logits = logits + heads.chosen_rows(jnp.einsum("bi,aik->bak", x, self.logit_kernel[...]), index)
        return jax.nn.log_softmax(logits)

    def _scale(self, index: Array | None, batch: int, rows: int) -> Float[Array, "b G K C m"] | None:
        """The scales of the chosen actions, if they depend on nothing else."""
        if not self.density.stochastic or self.density.scale_of_latent:
            return None
        scale = heads.chosen(self.scale[...], index, batch)
        return scale[..., None] if rows == batch else jnp.moveaxis(scale, 0, -1)[None]

    def _outputs(
        self, raw: Float[Array, "b G O M"], x: Float[Array, "B I"], index: Array | None, *, rectify: bool
    ) -> DensityOutputs | LipschitzOutputs:
        """Turn the heads' outputs, ordered (location or scale, component, channel), into density parameters."""
        components, log_weights = self.density.components, self._log_weights(x, index)
        slices = (1 if self.lipschitz else components) + self.density.predicted_scales
        blocks = raw.reshape(*raw.shape[:2], slices, -1, raw.shape[-1])
        if self.lipschitz:
            return LipschitzOutputs(blocks, log_weights, self._scale(index, len(x), len(raw)))
        loc = blocks[:, :, :components]
        return DensityOutputs(
            loc=jax.nn.relu(loc) if rectify else loc,
            scale=blocks[:, :, components:] if self.density.stochastic else None,
            log_weights=log_weights,
        )


class MapTransition(_TransitionNet):
    """Transition net on maps: a 2x2 convolution to ``2 c`` features, then a grouped 2x2 one for each action.

    With ``lipschitz``, both convolutions have operator norm at most 1, where each density slice (component and
    location or scale) is normalized separately, the nonlinearity is GroupSort, and the mixture's weights depend on the
    action only. Otherwise kernels are free, with ReLU after the hidden layer and on the location, and the weights come
    from logits that are linear in the latent. Without feature groups and without ``lipschitz`` there is no hidden
    layer, only the head's convolution.

    Discrete actions choose a head; others enter the first layer as constant channels. ``group_size`` is that of
    ``blocks.group_width``; channels of the next latent depend on the hidden features of their own group only. Kernels
    start LeCun-normal.
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
        super().__init__(action_spec, density, channels // block, lipschitz=lipschitz)
        self.latent_shape = latent_shape
        self.deep = lipschitz or group_size is not None
        features = (2 if self.deep else 1) * channels
        if self.deep:
            self.hidden_kernel = nnx.Param(lecun_normal(rngs.params(), (2, 2, channels, features)))
            self.hidden_bias = nnx.Param(jnp.zeros((features,)))
        # The inputs of a head are ordered (row, column, feature), its outputs (slice, channel).
        n_out = density.slices * block
        self._add_heads(4 * features // self.groups, n_out, rngs)
        if action_spec.kind != "discrete":
            into = features if self.deep else self.groups * n_out
            self.action_kernel = nnx.Param(lecun_normal(rngs.params(), (action_spec.size, into)))
        self._add_mixture(height * width * channels, rngs)

    def _bound(self, slices: Float[Array, "A G S I C"]) -> Float[Array, "A G S"]:
        height, width, _ = self.latent_shape
        windows = slices.reshape(*slices.shape[:3], 2, 2, -1, slices.shape[-1])
        return conv_norm_bound(windows, height, width)

    def _hidden(
        self, z: Float[Array, "B H W C"], shift: Float[Array, "B S"] | None
    ) -> Float[Array, "B G F M"]:
        """Hidden features by group: for its channels i, features i and i + c, which form a sorted pair."""
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
        """Density parameters for latents and actions, in any form that ``heads`` accepts."""
        index, features = self._split_action(action)
        shift = None if features is None else features @ self.action_kernel[...]
        planes = self._hidden(z, shift) if self.deep else to_blocks(z, 1)
        raw = heads.chosen_heads(plane_patches(planes, self.latent_shape[1]), *self._heads(), index)
        if shift is not None and not self.deep:
            raw = raw + shift[:, None, :, None]
        return self._outputs(raw, z.reshape(len(z), -1), index, rectify=True)


class FlatTransition(_TransitionNet):
    """Transition net on vectors: dense layers, then a dense head for each action and feature group.

    With ``lipschitz``, every layer and every density slice of the head has norm at most 1, the nonlinearity is
    GroupSort, and the mixture's weights depend on the action only. Otherwise the nonlinearity is ReLU, and the weights
    depend on the last hidden layer too. The location has no activation.

    Discrete actions choose a head; others are appended to the latent. ``group_size`` is that of
    ``blocks.group_width``; entries of the next latent depend on the hidden features of their own group only, all of
    which depend on the whole latent. The last of ``hidden_sizes`` is rounded up to fill the groups. Kernels start
    LeCun-normal.
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
        block = group_width(size, group_size)
        super().__init__(action_spec, density, size // block, lipschitz=lipschitz)
        n_in = -(-hidden_sizes[-1] // self.groups)
        last = n_in * self.groups
        appended = 0 if action_spec.kind == "discrete" else action_spec.size
        self.trunk = DenseTrunk(size, appended, (*hidden_sizes[:-1], last), lipschitz=lipschitz, rngs=rngs)
        self._add_heads(n_in, density.slices * block, rngs)
        self._add_mixture(last, rngs)

    def __call__(self, z: Float[Array, "B Z"], action: Array) -> DensityOutputs | LipschitzOutputs:
        """Density parameters for latents and actions, in any form that ``heads`` accepts."""
        index, features = self._split_action(action)
        hidden = self.trunk(z, features)
        raw = heads.chosen_heads_batch_last(hidden.T.reshape(self.groups, -1, len(z)), *self._heads(), index)
        return self._outputs(raw[None], hidden, index, rectify=False)


def _stacked_normal(key: Array, actions: int, groups: int, n_in: int, n_out: int) -> Float[Array, "A G I O"]:
    """Draw LeCun-normal kernels for each action and group, with the fan-in of one."""
    keys = jax.random.split(key, actions * groups)
    return jax.vmap(lambda k: lecun_normal(k, (n_in, n_out)))(keys).reshape(actions, groups, n_in, n_out)
