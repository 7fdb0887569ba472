"""One head for each discrete action, of which only the chosen one is computed.

Computing all heads and selecting one costs as many times the work as there are actions: 18 times on Atari.

A discrete action may be given as ``int32 [B]`` or as one-hot ``float32 [B, A]``. The second is differentiable
in the action, which a gradient penalty needs, and still evaluates one head: it blends the kernels, not the
outputs.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from spi_plugins.types import ActionSpec

# Kernels of at most this many entries are gathered for each sample, if it applies them at this many places or
# more.
_GATHERED_ENTRIES = 65536
_GATHERED_PLACES = 8
# Up to this many heads, on few places, computing them all beats sorting.
_FEW_HEADS = 3
_TILE = 16


def head_count(action_spec: ActionSpec) -> int:
    """Heads of a network with this action: one for each discrete value, otherwise one."""
    return action_spec.nvec[0] if action_spec.kind == "discrete" else 1


def action_features(action_spec: ActionSpec, action: Array) -> Float[Array, "B N"]:
    """Actions as float vectors: one-hot for discrete entries, concatenated; boxes flattened.

    Float vectors of discrete kinds are taken to be such features already.
    """
    if jnp.issubdtype(action.dtype, jnp.floating):
        return action.reshape(action.shape[0], -1).astype(jnp.float32)
    entries = action.reshape(action.shape[0], -1)
    hot = [jax.nn.one_hot(entries[:, i], n) for i, n in enumerate(action_spec.nvec)]
    return jnp.concatenate(hot, axis=-1)


def chosen(weights: Float[Array, " A *w"], action: Array | None, batch: int) -> Float[Array, " B *w"]:
    """The weights of each sample's action.

    Args:
        weights: weights of all ``A`` actions.
        action: ``int32 [B]``, in range (the compiled code does not check), or one-hot ``[B, A]``; ``None`` if
            ``A`` is
            1.
        batch: ``B``.
    """
    if action is None:
        return jnp.broadcast_to(weights, (batch, *weights.shape[1:]))
    if jnp.issubdtype(action.dtype, jnp.floating):
        return (action @ weights.reshape(weights.shape[0], -1)).reshape(-1, *weights.shape[1:])
    return jnp.take(weights, action, axis=0, mode="clip")


def chosen_rows(outputs: Float[Array, "B A *y"], action: Array | None) -> Float[Array, " B *y"]:
    """Of outputs computed for all actions, each sample's."""
    if action is None:
        return outputs[:, 0]
    if jnp.issubdtype(action.dtype, jnp.floating):
        return jnp.einsum("ba,ba...->b...", action, outputs)
    index = action.reshape(-1, *[1] * (outputs.ndim - 1))
    return jnp.take_along_axis(outputs, index, axis=1)[:, 0]


def chosen_blocks(
    x: Float[Array, "B G M I"],
    kernel: Float[Array, "A G I O"],
    bias: Float[Array, "A G O"],
    action: Array | None,
) -> Float[Array, "B G M O"]:
    """Block-diagonal affine map with the kernel of each sample's action.

    Args:
        x: ``G`` blocks of ``I`` features at each of ``M`` places.
        kernel: a kernel for each action and block.
        bias: a bias for each action and block.
        action: ``int32 [B]`` or one-hot ``[B, A]``; ``None`` if ``A`` is 1.
    """
    batch, _, places, _ = x.shape
    heads = kernel.shape[0]
    y_bias = chosen(bias, action, batch)[:, :, None, :]
    if action is None or heads == 1:
        return jnp.einsum("bgmi,gio->bgmo", x, kernel[0]) + y_bias
    soft = jnp.issubdtype(action.dtype, jnp.floating)
    gathered = places >= _GATHERED_PLACES and kernel[0].size <= _GATHERED_ENTRIES
    if soft or gathered:
        return jnp.einsum("bgmi,bgio->bgmo", x, chosen(kernel, action, batch)) + y_bias
    if heads <= _FEW_HEADS and places < _GATHERED_PLACES:
        return chosen_rows(jnp.einsum("bgmi,agio->bagmo", x, kernel), action) + y_bias
    return _tiled(x, kernel, action) + y_bias


class _Tiles(NamedTuple):
    """Samples sorted by action into tiles of one action each; a tile's last slots may be empty."""

    source: Int[Array, " S"]  # sample in each slot; B in an empty one
    slot: Int[Array, " B"]  # slot of each sample
    action: Int[Array, " N"]  # action of each tile


def _tile(action: Int[Array, " B"], heads: int) -> _Tiles:
    batch = action.shape[0]
    n_tiles = min(-(-batch // _TILE) + heads - 1, batch)
    counts = jnp.bincount(action, length=heads)
    ends = jnp.cumsum(-(-counts // _TILE))
    starts = ends - (-(-counts // _TILE))
    order = jnp.argsort(action)
    by_action = action[order]
    rank = jnp.arange(batch) - (jnp.cumsum(counts) - counts)[by_action]
    slot = jnp.zeros(batch, jnp.int32).at[order].set(starts[by_action] * _TILE + rank)
    source = jnp.full(n_tiles * _TILE, batch, jnp.int32).at[slot].set(jnp.arange(batch, dtype=jnp.int32))
    tile_action = jnp.searchsorted(ends, jnp.arange(n_tiles), side="right")
    return _Tiles(source, slot, jnp.minimum(tile_action, heads - 1))


def _tiled(
    x: Float[Array, "B G M I"], kernel: Float[Array, "A G I O"], action: Int[Array, " B"]
) -> Float[Array, "B G M O"]:
    """The chosen heads, one matrix product a tile: kernels are fetched once a tile, not once a sample."""
    batch, groups, places, n_in = x.shape
    tiles = _tile(action, kernel.shape[0])
    slots = x.at[tiles.source].get(mode="fill", fill_value=0.0)
    slots = slots.reshape(-1, _TILE, groups, places, n_in)
    y = jnp.einsum("tsgmi,tgio->tsgmo", slots, chosen(kernel, tiles.action, batch))
    return y.reshape(-1, groups, places, kernel.shape[-1])[tiles.slot]
