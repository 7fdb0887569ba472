"""Densities of the next latent from which one outcome is drawn: mixtures of products over the latent's entries.

A component draws its entries independently: numbers from normals, discrete values from categorical distributions. What
entries have in common, such as the two coordinates of a cell, is in the choice of the component. The published
"mixture" of Deep SPI averages its components instead, see ``densities.lipschitz_sample``.
"""

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from spi_plugins.networks.encoders import flat_size
from spi_plugins.types import ArraySpec, ObservationSpec
from spi_plugins.world_models.densities import softplus

# Of a standardized number. Without a floor, the density of a constant entry grows forever.
_SCALE_FLOOR = 1e-2


class Run(NamedTuple):
    """Neighboring entries of a latent of the same kind."""

    variables: int
    values: int  # of each: 0 for numbers, 1 for bits, else the length of a one-hot

    @property
    def size(self) -> int:
        """Entries of the latent."""
        return self.variables * max(self.values, 1)


Layout = tuple[Run, ...]


class Density(NamedTuple):
    """``K`` components of the next latent's density for each of ``N`` latents.

    Attributes:
        loc: means of numbers, and logits of discrete values.
        scale: standard deviations of numbers; ``None`` if there are no numbers.
        log_weights: normalized.
    """

    loc: Float[Array, "N K Z"]
    scale: Float[Array, "N K Z"] | None
    log_weights: Float[Array, "N K"]


def numbers(size: int) -> Layout:
    """The layout of a latent of numbers."""
    return (Run(size, 0),)


def layout_of(spec: ObservationSpec) -> Layout:
    """The layout of flattened observations without images."""
    parts = [spec] if isinstance(spec, ArraySpec) else [part for _, part in spec]
    values: list[int] = []
    for part in parts:
        values += part.nvec or [int(part.kind == "multi_binary")] * flat_size(part)
    return tuple(Run(len(list(same)), n) for n, same in itertools.groupby(values))


def is_number(layout: Layout) -> Bool[Array, "1 Z"]:
    """Which entries are numbers."""
    return jnp.concatenate([jnp.full(run.size, run.values == 0) for run in layout])[None]


def positive_scale(raw: Float[Array, " *any"]) -> Float[Array, " *any"]:
    """Standard deviations from a network's output."""
    return softplus(raw) + _SCALE_FLOOR


def log_prob(layout: Layout, density: Density, x: Float[Array, "N Z"]) -> Float[Array, " N"]:
    """Log probability of a latent: of its discrete values, times the density of its numbers."""
    total = density.log_weights
    scales = density.loc if density.scale is None else density.scale
    for run, loc, scale, value in _runs(layout, density.loc, scales, x[:, None]):
        if run.values == 0:
            z = (value - loc) / scale
            entries = -0.5 * (z**2 + jnp.log(2.0 * jnp.pi)) - jnp.log(scale)
        elif run.values == 1:
            entries = jax.nn.log_sigmoid(jnp.where(value > 0.5, loc, -loc))
        else:
            entries = value * jax.nn.log_softmax(_by_variable(run, loc)).reshape(loc.shape)
        total = total + jnp.sum(entries, axis=-1)
    return jax.nn.logsumexp(total, axis=-1)


def draw(layout: Layout, density: Density, key: PRNGKeyArray) -> Float[Array, "N Z"]:
    """Draw a component, and from it a latent."""
    component_key, *keys = jax.random.split(key, 1 + len(layout))
    chosen = _component(density, jax.random.categorical(component_key, density.log_weights))
    rows = []
    for row_key, (run, loc, scale) in zip(keys, _runs(layout, *chosen), strict=True):
        if run.values == 0:
            rows.append(loc + scale * jax.random.normal(row_key, loc.shape))
        elif run.values == 1:
            rows.append(jax.random.bernoulli(row_key, jax.nn.sigmoid(loc)).astype(jnp.float32))
        else:
            rows.append(_one_hot(run, jax.random.categorical(row_key, _by_variable(run, loc))))
    return jnp.concatenate(rows, axis=-1)


def mode(layout: Layout, density: Density) -> Float[Array, "N Z"]:
    """The center of the component with the largest weight: means of numbers, the most likely discrete values."""
    center, _ = _component(density, jnp.argmax(density.log_weights, axis=-1))
    rows = []
    for run, loc in _runs(layout, center):
        if run.values == 0:
            rows.append(loc)
        elif run.values == 1:
            rows.append((loc > 0.0).astype(jnp.float32))
        else:
            rows.append(_one_hot(run, jnp.argmax(_by_variable(run, loc), axis=-1)))
    return jnp.concatenate(rows, axis=-1)


def mean(layout: Layout, density: Density) -> Float[Array, "N Z"]:
    """Means of numbers, and the probabilities of discrete values."""
    rows = []
    for run, loc in _runs(layout, density.loc):
        if run.values == 1:
            loc = jax.nn.sigmoid(loc)
        elif run.values > 1:
            loc = jax.nn.softmax(_by_variable(run, loc)).reshape(loc.shape)
        rows.append(loc)
    weights = jnp.exp(density.log_weights)[:, :, None]
    return jnp.sum(weights * jnp.concatenate(rows, axis=-1), axis=1)


def _runs(layout: Layout, *arrays: Array) -> list[tuple[Any, ...]]:
    """Each run with its part of the arrays' last axis."""
    ends = list(itertools.accumulate(run.size for run in layout))[:-1]
    return list(zip(layout, *(jnp.split(x, ends, axis=-1) for x in arrays), strict=True))


def _component(density: Density, chosen: Array) -> tuple[Float[Array, "N Z"], Float[Array, "N Z"]]:
    """Location and scale of one component of each row; without scales, the location twice."""

    def pick(x: Array) -> Array:
        return jnp.take_along_axis(x, chosen[:, None, None], axis=1)[:, 0]

    loc = pick(density.loc)
    return loc, loc if density.scale is None else pick(density.scale)


def _by_variable(run: Run, x: Array) -> Array:
    return x.reshape(*x.shape[:-1], run.variables, run.values)


def _one_hot(run: Run, index: Array) -> Array:
    return jax.nn.one_hot(index, run.values).reshape(len(index), run.size)
