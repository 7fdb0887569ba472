"""One head for each discrete action, of which only the chosen one is computed.

Computing all heads and selecting one would multiply the work by the number of actions, 18 on Atari.

A discrete action is ``int32 [B]`` or one-hot ``float32 [B, A]``. The latter is differentiable in the action, which a
gradient penalty needs.

Features are planes ``[B, G, F, M]``: ``G`` groups of ``F`` features at ``M`` places.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array, Float, Int

from spi_plugins.types import ActionSpec

# Kernels of at most this many entries are fetched for each sample, if it applies them at this many places or more.
_FETCHED_ENTRIES = 65536
_FETCHED_PLACES = 8
# With up to this many heads and few places, computing them all is faster than sorting the samples by action.
_FEW_HEADS = 3
# With the batch last, all heads are computed, in one product, if their kernels have at most this many entries.
_COMPUTED_ENTRIES = 262144
_TILE = 16


def head_count(action_spec: ActionSpec) -> int:
    """Number of heads: one for each value of a discrete action, otherwise one."""
    return action_spec.nvec[0] if action_spec.kind == "discrete" else 1


def action_features(action_spec: ActionSpec, action: Array) -> Float[Array, "B N"]:
    """Actions as float vectors: one-hots of discrete entries, concatenated, or flattened boxes.

    Float vectors of discrete kinds are assumed to be one-hots already.
    """
    if jnp.issubdtype(action.dtype, jnp.floating):
        return action.reshape(action.shape[0], -1).astype(jnp.float32)
    entries = action.reshape(action.shape[0], -1)
    hot = [jax.nn.one_hot(entries[:, i], n) for i, n in enumerate(action_spec.nvec)]
    return jnp.concatenate(hot, axis=-1)


def _one_hot(action: Array, heads: int) -> Float[Array, "B A"]:
    return action if jnp.issubdtype(action.dtype, jnp.floating) else jax.nn.one_hot(action, heads)


def chosen(weights: Float[Array, " A *w"], action: Array | None, batch: int) -> Float[Array, " B *w"]:
    """Select the weights of each sample's action by a product with the one-hot action; ``None`` if ``A`` is 1."""
    heads = weights.shape[0]
    if action is None:
        return jnp.broadcast_to(weights, (batch, *weights.shape[1:]))
    rows = jnp.matmul(_one_hot(action, heads), weights.reshape(heads, -1), precision=Precision.HIGHEST)
    return rows.reshape(-1, *weights.shape[1:])


def chosen_rows(outputs: Float[Array, " B A *y"], action: Array | None) -> Float[Array, " B *y"]:
    """Select the outputs of each sample's action from those of all actions."""
    if action is None:
        return outputs[:, 0]
    hot = _one_hot(action, outputs.shape[1]).reshape(*outputs.shape[:2], *[1] * (outputs.ndim - 2))
    return jnp.sum(hot * outputs, axis=1)


def chosen_heads(
    x: Float[Array, "B G I M"],
    kernel: Float[Array, "A G O I"],
    bias: Float[Array, "A G O"],
    action: Array | None,
) -> Float[Array, "B G O M"]:
    """Affine map of each group with the kernel of each sample's action; ``None`` if ``A`` is 1."""
    batch, _, _, places = x.shape
    heads = kernel.shape[0]
    y_bias = chosen(bias, action, batch)[..., None]
    if action is None:
        return jnp.einsum("goi,bgim->bgom", kernel[0], x) + y_bias
    if places >= _FETCHED_PLACES and kernel[0].size <= _FETCHED_ENTRIES:
        return jnp.einsum("bgoi,bgim->bgom", chosen(kernel, action, batch), x) + y_bias
    few = heads <= _FEW_HEADS and places < _FETCHED_PLACES
    if few or jnp.issubdtype(action.dtype, jnp.floating):
        return chosen_rows(jnp.einsum("agoi,bgim->bagom", kernel, x), action) + y_bias
    return _tiled(x, kernel, action) + y_bias


def chosen_heads_batch_last(
    x: Float[Array, "G I B"],
    kernel: Float[Array, "A G O I"],
    bias: Float[Array, "A G O"],
    action: Array | None,
) -> Float[Array, "G O B"]:
    """``chosen_heads`` for one place, with the batch on the last axis, along which it runs fastest."""
    heads, groups, n_out, _ = kernel.shape
    if action is None:
        return jnp.einsum("goi,gib->gob", kernel[0], x) + bias[0][..., None]
    if kernel.size > _COMPUTED_ENTRIES and not jnp.issubdtype(action.dtype, jnp.floating):
        outputs = chosen_heads(jnp.moveaxis(x, -1, 0)[..., None], kernel, bias, action)
        return jnp.moveaxis(outputs[..., 0], 0, -1)
    hot = _one_hot(action, heads).T
    # The rows of a sample's action hold its features and a one for the bias; other rows are 0. They are concatenated
    # because the gradient of a product with a broadcast x is a reduction over heads, ten times slower.
    ones = jnp.broadcast_to(hot, (groups, *hot.shape))
    rows = jnp.concatenate([*(x * hot[a][None, None] for a in range(heads)), ones], axis=1)
    stacked = jnp.moveaxis(kernel, 0, 2).reshape(groups, n_out, -1)
    stacked = jnp.concatenate([stacked, jnp.moveaxis(bias, 0, -1)], axis=-1)
    return jnp.einsum("goi,gib->gob", stacked, rows)


class _Tiles(NamedTuple):
    """Samples sorted by action into tiles of one action each; a tile's last slots may be empty."""

    source: Int[Array, " S"]  # sample in each slot; B in an empty one
    slot: Int[Array, " B"]  # slot of each sample
    action: Int[Array, " N"]  # action of each tile


def _tile(action: Int[Array, " B"], heads: int) -> _Tiles:
    batch = action.shape[0]
    n_tiles = min(-(-batch // _TILE) + heads - 1, batch)
    counts = jnp.bincount(action, length=heads)
    tiles = -(-counts // _TILE)
    ends = jnp.cumsum(tiles)
    order = jnp.argsort(action)
    by_action = action[order]
    rank = jnp.arange(batch) - (jnp.cumsum(counts) - counts)[by_action]
    slot = jnp.zeros(batch, jnp.int32).at[order].set((ends - tiles)[by_action] * _TILE + rank)
    source = jnp.full(n_tiles * _TILE, batch, jnp.int32).at[slot].set(jnp.arange(batch, dtype=jnp.int32))
    tile_action = jnp.searchsorted(ends, jnp.arange(n_tiles), side="right")
    return _Tiles(source, slot, jnp.minimum(tile_action, heads - 1))


def _tiled(
    x: Float[Array, "B G I M"], kernel: Float[Array, "A G O I"], action: Int[Array, " B"]
) -> Float[Array, "B G O M"]:
    """The chosen heads by one matrix product per tile, so that kernels are fetched once per tile, not per sample."""
    batch, groups, n_in, places = x.shape
    tiles = _tile(action, kernel.shape[0])
    slots = x.at[tiles.source].get(mode="fill", fill_value=0.0)
    slots = slots.reshape(-1, _TILE, groups, n_in, places)
    y = jnp.einsum("tgoi,tsgim->tsgom", chosen(kernel, tiles.action, batch), slots)
    return y.reshape(-1, groups, kernel.shape[2], places)[tiles.slot]
