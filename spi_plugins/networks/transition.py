"""Networks that turn a latent and an action into the parameters of the next latent's density.

All of them speak one *block layout*: the next latent is ``[B, G, M, C]``, ``G`` feature groups of ``C``
channels at ``M`` places. A flat latent of ``Z`` entries is one group at one place, ``[B, 1, 1, Z]``.

Work of a sample's forward pass on a map of ``M = h w`` places and ``c`` channels with groups of ``d``, ``n``
density slices (5 components x location and scale = 10) and any number of actions, in multiply-adds: hidden
convolution ``8 M c^2``, chosen head ``8 M c d n``. For 7 x 7 x 64 and ``d = 4``: 1.61 M + 1.00 M, so 5.2
MFLOP forward and, with both gradients, 15.7 MFLOP. The published code computes every action's head: ``8 M c d
n A``.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from spi_plugins.networks.categorical import straight_through
from spi_plugins.networks.heads import action_features, chosen, chosen_blocks, chosen_rows, head_count
from spi_plugins.networks.lipschitz import group_sort, lecun_normal, same_patches
from spi_plugins.networks.spectral import conv_norm_bound, dense_norm_bound
from spi_plugins.types import ActionSpec


class DensityShape(NamedTuple):
    """What a transition net must emit.

    Attributes:
        components: mixture components ``K``; 1 without a mixture.
        stochastic: a scale beside each location.
        mixture: logits of the components too.
    """

    components: int
    stochastic: bool
    mixture: bool

    @property
    def slices(self) -> int:
        """Outputs for each entry of the latent."""
        return self.components * (2 if self.stochastic else 1)


class DensityOutputs(NamedTuple):
    """Raw outputs of a transition net; ``D = (G, M, K, C)`` is the block layout with components.

    Attributes:
        loc: ``[B, G, M, K, C]``.
        scale: the same, before softplus; ``None`` for a deterministic net.
        logits: ``[B, K]``; ``None`` without a mixture.
    """

    loc: Float[Array, "B G M K C"]
    scale: Float[Array, "B G M K C"] | None
    logits: Float[Array, "B K"] | None


def group_width(channels: int, group_size: int | None) -> int:
    """Channels in each feature group: the largest divisor of ``channels`` not above ``group_size``."""
    if group_size is None:
        return channels
    return max(d for d in range(1, min(group_size, channels) + 1) if channels % d == 0)


def to_blocks(z: Float[Array, " B *z"], groups: int) -> Float[Array, "B G M C"]:
    """A latent in the block layout."""
    if z.ndim == 2:
        return z[:, None, None, :]
    batch, channels = z.shape[0], z.shape[-1]
    return jnp.swapaxes(z.reshape(batch, -1, groups, channels // groups), 1, 2)


def from_blocks(blocks: Float[Array, "B G M C"], latent_shape: tuple[int, ...]) -> Float[Array, " B *z"]:
    """A latent in its own shape."""
    return jnp.swapaxes(blocks, 1, 2).reshape(blocks.shape[0], *latent_shape)


class MapTransition(nnx.Module):
    """Transition net on maps: a 2x2 convolution to ``2 c`` features, then a grouped 2x2 one for each action.

    Without feature groups and without ``lipschitz`` there is no hidden layer, only the head's convolution.

    With ``lipschitz`` both convolutions have operator norm at most 1, each density slice (component and
    location or scale) by itself, the nonlinearity is GroupSort, and the mixture's logits depend on the action
    only. Otherwise ReLU, free kernels, ReLU on the location, and logits linear in the latent.

    Args:
        latent_shape: ``(h, w, c)``.
        action_spec: discrete actions choose a head; others enter the hidden layer as constant channels.
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
        actions = head_count(action_spec)
        self.deep = lipschitz or group_size is not None
        features = (2 if self.deep else 1) * channels
        if self.deep:
            self.hidden_kernel = nnx.Param(lecun_normal(rngs.params(), (2, 2, channels, features)))
            self.hidden_bias = nnx.Param(jnp.zeros((features,)))
        # [actions, groups, (row, column, feature), (slice, channel)]
        n_in, n_out = 4 * features // self.groups, density.slices * block
        self.head_kernel = nnx.Param(_stacked_normal(rngs.params(), actions, self.groups, n_in, n_out))
        self.head_bias = nnx.Param(jnp.zeros((actions, self.groups, density.slices * block)))
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

    def _kernels(self) -> tuple[Float[Array, "I W"] | None, Float[Array, "A G J O"]]:
        """Kernels of the hidden layer and the heads as matrices, normalized if that is asked for."""
        heads = self.head_kernel[...]
        if not self.deep:
            return None, heads
        hidden = self.hidden_kernel[...]
        if self.lipschitz:
            height, width, _ = self.latent_shape
            hidden = hidden / conv_norm_bound(hidden, height, width)
            actions, groups, n_in, _ = heads.shape
            sliced = heads.reshape(actions, groups, 2, 2, n_in // 4, self.density.slices, -1)
            bound = conv_norm_bound(jnp.moveaxis(sliced, 5, 2), height, width)
            heads = (sliced / bound[:, :, None, None, None, :, None]).reshape(heads.shape)
        return hidden.reshape(-1, hidden.shape[-1]), heads

    def _hidden(
        self, z: Float[Array, "B H W C"], kernel: Float[Array, "I W"], shift: Float[Array, "B W"]
    ) -> Float[Array, "B G H W F"]:
        """Hidden features by group: of its channels i, features i and i + c, the two of a sorted pair."""
        batch, (height, width, channels) = z.shape[0], self.latent_shape
        hidden = same_patches(z) @ kernel + (shift + self.hidden_bias[...][None, :])[:, None, None, :]
        hidden = group_sort(hidden) if self.lipschitz else jax.nn.relu(hidden)
        grouped = hidden.reshape(batch, height, width, 2, self.groups, channels // self.groups)
        return jnp.transpose(grouped, (0, 4, 1, 2, 3, 5)).reshape(batch, self.groups, height, width, -1)

    def __call__(self, z: Float[Array, "B H W C"], action: Array) -> DensityOutputs:
        """Raw density parameters for latents and actions (see ``heads`` for the forms of an action)."""
        batch, (height, width, _) = z.shape[0], self.latent_shape
        index = action if self.action_spec.kind == "discrete" else None
        shift = jnp.zeros((batch, 1))
        if index is None:
            shift = action_features(self.action_spec, action) @ self.action_kernel[...]
        hidden_kernel, heads = self._kernels()
        grouped = z[:, None] if hidden_kernel is None else self._hidden(z, hidden_kernel, shift)
        patches = same_patches(grouped).reshape(batch, self.groups, height * width, -1)
        raw = chosen_blocks(patches, heads, self.head_bias[...], index)
        if hidden_kernel is None:
            raw = raw + shift[:, None, None, :]
        logits = None
        if self.density.mixture:
            logits = chosen(self.logits[...], index, batch)
            if not self.lipschitz:
                scores = jnp.einsum("bi,aik->bak", z.reshape(batch, -1), self.logit_kernel[...])
                logits = logits + chosen_rows(scores, index)
        return _split(raw, self.density, logits, rectify=not self.lipschitz)


class FlatTransition(nnx.Module):
    """Transition net on vectors: dense layers, then a dense head for each action.

    With ``lipschitz`` every layer, and every density slice of the head, has norm at most 1, with GroupSort
    between. Otherwise ReLU between, and logits from the last hidden layer. No activation on the location.

    Args:
        size: length of the latent.
        action_spec: discrete actions choose a head; others are appended to the latent.
        density: what to emit.
        lipschitz: see above.
        hidden_sizes: widths of the dense layers, at least one.
        rngs: source of the initial kernels, LeCun-normal.
    """

    def __init__(
        self,
        size: int,
        action_spec: ActionSpec,
        density: DensityShape,
        *,
        lipschitz: bool,
        hidden_sizes: tuple[int, ...],
        rngs: nnx.Rngs,
    ) -> None:
        self.action_spec, self.density, self.lipschitz = action_spec, density, lipschitz
        actions, last = head_count(action_spec), hidden_sizes[-1]
        appended = 0 if action_spec.kind == "discrete" else action_spec.size
        self.trunk = DenseTrunk(size, appended, hidden_sizes, lipschitz=lipschitz, rngs=rngs)
        self.head_kernel = nnx.Param(_stacked_normal(rngs.params(), actions, 1, last, density.slices * size))
        self.head_bias = nnx.Param(jnp.zeros((actions, 1, density.slices * size)))
        if density.mixture:
            self.logits = nnx.Param(jnp.zeros((actions, density.components)))
            if not lipschitz:
                self.logit_kernel = nnx.Param(
                    _stacked_normal(rngs.params(), actions, 1, last, density.components)[:, 0]
                )

    def __call__(self, z: Float[Array, "B Z"], action: Array) -> DensityOutputs:
        """Raw density parameters for latents and actions (``int32 [B]`` if discrete, else ``[B, ...]``)."""
        batch = z.shape[0]
        discrete = self.action_spec.kind == "discrete"
        hidden = self.trunk(z, None if discrete else action_features(self.action_spec, action))
        heads = self.head_kernel[...]
        if self.lipschitz:
            actions, _, n_in, _ = heads.shape
            sliced = heads.reshape(actions, n_in, self.density.slices, -1)
            bound = dense_norm_bound(jnp.moveaxis(sliced, 2, 1))
            heads = (sliced / bound[:, None, :, None]).reshape(heads.shape)
        index = action if discrete else None
        raw = chosen_blocks(hidden[:, None, None, :], heads, self.head_bias[...], index)
        logits = None
        if self.density.mixture:
            logits = chosen(self.logits[...], index, batch)
            if not self.lipschitz:
                logits = logits + chosen_rows(
                    jnp.einsum("bi,aik->bak", hidden, self.logit_kernel[...]), index
                )
        return _split(raw, self.density, logits, rectify=False)


class CategoricalTransition(nnx.Module):
    """Transition net on categorical latents: embeddings of entries and action, dense layers, logits.

    Args:
        latent_shape: ``(categories, classes)``.
        action_spec: discrete actions are embedded, others enter as a vector.
        hidden_sizes: widths of the dense layers.
        embedding: width of the embeddings, drawn from a standard normal.
        rngs: source of the initial weights.
    """

    def __init__(
        self,
        latent_shape: tuple[int, int],
        action_spec: ActionSpec,
        *,
        hidden_sizes: tuple[int, ...],
        embedding: int,
        rngs: nnx.Rngs,
    ) -> None:
        categories, classes = latent_shape
        self.action_spec, self.latent_shape = action_spec, latent_shape
        self.tokens = nnx.Param(jax.random.normal(rngs.params(), (categories, classes, embedding)))
        self.action_embedding = nnx.Param(jax.random.normal(rngs.params(), (action_spec.size, embedding)))
        self.trunk = DenseTrunk(categories * embedding, embedding, hidden_sizes, lipschitz=False, rngs=rngs)
        self.kernel = nnx.Param(lecun_normal(rngs.params(), (hidden_sizes[-1], categories * classes)))
        self.bias = nnx.Param(jnp.zeros((categories * classes,)))

    def __call__(self, z: Float[Array, "B N C"], action: Array, key: Array) -> Float[Array, "B N C"]:
        """A sampled next latent: one-hot, with straight-through gradients."""
        tokens = jnp.einsum("bnc,nce->bne", z, self.tokens[...]).reshape(z.shape[0], -1)
        embedded = action_features(self.action_spec, action) @ self.action_embedding[...]
        logits = self.trunk(tokens, embedded) @ self.kernel[...] + self.bias[...][None, :]
        return straight_through(logits.reshape(-1, *self.latent_shape), key)


class DenseTrunk(nnx.Module):
    """Dense layers with their nonlinearity after each: GroupSort and norm at most 1, or ReLU.

    Args:
        size: length of the input.
        appended: length of a second input to the first layer, free of the norm: it may move the output as it
            likes.
        hidden_sizes: widths; may be empty.
        lipschitz: 1-Lipschitz in the first input.
        rngs: source of the initial kernels, LeCun-normal.
    """

    def __init__(
        self, size: int, appended: int, hidden_sizes: tuple[int, ...], *, lipschitz: bool, rngs: nnx.Rngs
    ) -> None:
        self.depth, self.lipschitz = len(hidden_sizes), lipschitz
        for i, (n_in, n_out) in enumerate(zip((size, *hidden_sizes), hidden_sizes, strict=False)):
            setattr(self, f"kernel{i}", nnx.Param(lecun_normal(rngs.params(), (n_in, n_out))))
            setattr(self, f"bias{i}", nnx.Param(jnp.zeros((n_out,))))
        self.appended = appended
        if appended:
            self.appended_kernel = nnx.Param(lecun_normal(rngs.params(), (appended, hidden_sizes[0])))

    def __call__(
        self, x: Float[Array, "B I"], appended: Float[Array, "B N"] | None = None
    ) -> Float[Array, "B O"]:
        """Apply the layers."""
        for i in range(self.depth):
            kernel = getattr(self, f"kernel{i}")[...]
            if self.lipschitz:
                kernel = kernel / dense_norm_bound(kernel)
            x = x @ kernel + getattr(self, f"bias{i}")[...][None, :]
            if i == 0 and appended is not None:
                x = x + appended @ self.appended_kernel[...]
            x = group_sort(x) if self.lipschitz else jax.nn.relu(x)
        return x


def _stacked_normal(key: Array, actions: int, groups: int, n_in: int, n_out: int) -> Float[Array, "A G I O"]:
    """LeCun-normal kernels for each action and group, with the fan-in of one."""
    keys = jax.random.split(key, actions * groups)
    return jax.vmap(lambda k: lecun_normal(k, (n_in, n_out)))(keys).reshape(actions, groups, n_in, n_out)


def _split(
    raw: Float[Array, "B G M O"], density: DensityShape, logits: Array | None, *, rectify: bool
) -> DensityOutputs:
    """Heads' outputs, ordered (location or scale, component, channel), as density parameters."""
    batch, groups, places, outputs = raw.shape
    channels = outputs // density.slices
    half = density.components * channels
    shape = (batch, groups, places, density.components, channels)
    loc = raw[..., :half].reshape(shape)
    scale = raw[..., half:].reshape(shape) if density.stochastic else None
    return DensityOutputs(jax.nn.relu(loc) if rectify else loc, scale, logits)
