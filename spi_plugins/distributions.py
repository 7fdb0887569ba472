"""Action distributions as structs of pure functions on one flat parameter array.

The actor emits ``parameters [B, P]``: logits for discrete actions (those of every entry side by side for
MultiDiscrete), mean and log standard deviation for continuous ones.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from spi_plugins.types import ActionSpec


class ActionDistribution(NamedTuple):
    """Functions of ``parameters [B, P]``; actions are ``[B, *action shape]``.

    Attributes:
        n_parameters: P.
        sample: ``(parameters, key) -> action``.
        mode: ``(parameters) -> action``, the most likely one.
        log_prob: ``(parameters, action) -> [B]``, summed over the entries of an action.
        entropy: ``(parameters) -> [B]``, in nats.
    """

    n_parameters: int
    sample: Callable[[Array, Array], Array]
    mode: Callable[[Array], Array]
    log_prob: Callable[[Array, Array], Array]
    entropy: Callable[[Array], Array]


def action_distribution(spec: ActionSpec) -> ActionDistribution:
    """The distribution that fits an action space: categorical, product of categoricals or diagonal Gaussian."""
    if spec.kind == "box":
        return _gaussian(math.prod(spec.shape), spec.shape)
    return _categoricals(spec.nvec, squeeze=spec.kind == "discrete")


def _categoricals(nvec: tuple[int, ...], *, squeeze: bool) -> ActionDistribution:
    ends = [sum(nvec[: i + 1]) for i in range(len(nvec))]

    def split(logits: Float[Array, "B P"]) -> list[Array]:
        return jnp.split(logits, ends[:-1], axis=-1)

    def join(entries: list[Array]) -> Array:
        return entries[0] if squeeze else jnp.stack(entries, axis=-1)

    def sample(logits: Array, key: Array) -> Array:
        keys = jax.random.split(key, len(nvec))
        return join(
            [
                jax.random.categorical(k, part).astype(jnp.int32)
                for k, part in zip(keys, split(logits), strict=True)
            ]
        )

    def mode(logits: Array) -> Array:
        return join([jnp.argmax(part, axis=-1).astype(jnp.int32) for part in split(logits)])

    def log_prob(logits: Array, action: Array) -> Array:
        columns = action[:, None] if squeeze else action
        terms = [
            jnp.take_along_axis(jax.nn.log_softmax(part), columns[:, i, None], axis=-1)[:, 0]
            for i, part in enumerate(split(logits))
        ]
        return jnp.sum(jnp.stack(terms), axis=0)

    def entropy(logits: Array) -> Array:
        terms = []
        for part in split(logits):
            log_p = jax.nn.log_softmax(part)
            terms.append(-jnp.sum(jnp.exp(log_p) * log_p, axis=-1))
        return jnp.sum(jnp.stack(terms), axis=0)

    return ActionDistribution(sum(nvec), sample, mode, log_prob, entropy)


def _gaussian(size: int, shape: tuple[int, ...]) -> ActionDistribution:
    """Diagonal Gaussian, not squashed: the shell clips what it sends to the environment, as SB3's PPO does."""

    def moments(parameters: Array) -> tuple[Array, Array]:
        return parameters[:, :size], parameters[:, size:]

    def sample(parameters: Array, key: Array) -> Array:
        mean, log_std = moments(parameters)
        action = mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape, mean.dtype)
        return action.reshape(-1, *shape)

    def mode(parameters: Array) -> Array:
        return moments(parameters)[0].reshape(-1, *shape)

    def log_prob(parameters: Array, action: Array) -> Array:
        mean, log_std = moments(parameters)
        error = (action.reshape(-1, size) - mean) * jnp.exp(-log_std)
        return jnp.sum(-0.5 * error**2 - log_std - 0.5 * math.log(2 * math.pi), axis=-1)

    def entropy(parameters: Array) -> Array:
        return jnp.sum(moments(parameters)[1] + 0.5 * math.log(2 * math.pi * math.e), axis=-1)

    return ActionDistribution(2 * size, sample, mode, log_prob, entropy)
