"""Action distributions as structs of pure functions on one flat parameter array.

The actor returns ``parameters [B, P]``: logits for discrete actions (those of all entries concatenated for
MultiDiscrete), mean and log standard deviation for continuous ones.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from spi_plugins.actions import executed_action, executed_by_model
from spi_plugins.types import ActionSpec

_LOWEST = float(np.finfo(np.float32).min)
# SB3's numbers: where the inverse of tanh is cut off, and what keeps the logarithm of tanh's slope finite.
_SQUASHED_LIMIT = 1.0 - float(np.finfo(np.float32).eps)
_SLOPE_EPSILON = 1e-6


class ActionDistribution(NamedTuple):
    """Functions of ``parameters [B, P]``; actions are ``[B, *action shape]``."""

    n_parameters: int  # ``P``
    sample: Callable[[Array, Array], Array]  # ``(parameters, key) -> action``
    mode: Callable[[Array], Array]  # ``(parameters) -> action``, the most likely one
    # ``(parameters, action) -> [B]``, summed over the entries of an action
    log_prob: Callable[[Array, Array], Array]
    entropy: Callable[[Array], Array] | None  # ``(parameters) -> [B]``, in nats; ``None`` without a formula
    executed: Callable[[Array], Array]  # ``(action) -> `` what the environment gets
    # ``(parameters, noise [B, A]) -> action``: the mean of a ``Box`` and noise that was drawn elsewhere
    around: Callable[[Array, Array], Array] | None = None
    # ``(parameters, others) -> [B]``, the KL divergence of the first distribution from the other, in nats
    kl: Callable[[Array, Array], Array] | None = None


def action_distribution(spec: ActionSpec, *, squash: bool = False) -> ActionDistribution:
    """The distribution that fits an action space: categorical, product of categoricals or diagonal Gaussian.

    Args:
        spec: the action space.
        squash: map the Gaussian into the bounds by tanh instead of clipping it.
    """
    if spec.kind == "box":
        gaussian = _gaussian(spec)
        return _squashed(gaussian, spec) if squash else gaussian
    return _categoricals(spec)


def entropy_or_estimate(
    distribution: ActionDistribution, parameters: Float[Array, "B P"], log_prob: Float[Array, " B"]
) -> Float[Array, " B"]:
    """The entropy; where it has no formula, the estimate from one sample of this log-probability."""
    return -log_prob if distribution.entropy is None else distribution.entropy(parameters)


def masked(logits: Float[Array, "B P"], masks: Bool[Array, "B P"] | None) -> Float[Array, "B P"]:
    """Logits that give probability 0 to every action where ``masks`` is false; unchanged without masks.

    The lowest number instead of minus infinity keeps the entropy's ``0 * log 0`` and its gradient at 0.
    """
    return logits if masks is None else jnp.where(masks, logits, _LOWEST)


def _categoricals(spec: ActionSpec) -> ActionDistribution:
    nvec, shape = spec.nvec, spec.shape
    ends = [sum(nvec[: i + 1]) for i in range(len(nvec))]

    def split(logits: Float[Array, "B P"]) -> list[Array]:
        return jnp.split(logits, ends[:-1], axis=-1)

    def join(entries: list[Array]) -> Array:
        return jnp.stack(entries, axis=-1).reshape(-1, *shape)

    def sample(logits: Array, key: Array) -> Array:
        pairs = zip(jax.random.split(key, len(nvec)), split(logits), strict=True)
        return join([jax.random.categorical(k, part).astype(jnp.int32) for k, part in pairs])

    def mode(logits: Array) -> Array:
        return join([jnp.argmax(part, axis=-1).astype(jnp.int32) for part in split(logits)])

    def log_prob(logits: Array, action: Array) -> Array:
        columns = action.reshape(-1, len(nvec))
        terms = [
            jnp.take_along_axis(jax.nn.log_softmax(part), columns[:, i, None], axis=-1)[:, 0]
            for i, part in enumerate(split(logits))
        ]
        return jnp.sum(jnp.stack(terms), axis=0)

    def entropy(logits: Array) -> Array:
        log_ps = [jax.nn.log_softmax(part) for part in split(logits)]
        return jnp.sum(jnp.stack([-jnp.sum(jnp.exp(log_p) * log_p, axis=-1) for log_p in log_ps]), axis=0)

    def kl(logits: Array, others: Array) -> Array:
        pairs = zip(split(logits), split(others), strict=True)
        log_ps = [(jax.nn.log_softmax(p), jax.nn.log_softmax(q)) for p, q in pairs]
        return jnp.sum(jnp.stack([jnp.sum(jnp.exp(p) * (p - q), axis=-1) for p, q in log_ps]), axis=0)

    executed = functools.partial(executed_action, spec)
    return ActionDistribution(sum(nvec), sample, mode, log_prob, entropy, executed, kl=kl)


def _gaussian(spec: ActionSpec) -> ActionDistribution:
    """Diagonal Gaussian without squashing: actions are clipped for the environment only, as in SB3's PPO."""
    size, shape = math.prod(spec.shape), spec.shape

    def moments(parameters: Array) -> tuple[Array, Array]:
        return parameters[:, :size], parameters[:, size:]

    def around(parameters: Array, noise: Array) -> Array:
        return (moments(parameters)[0] + noise).reshape(-1, *shape)

    def sample(parameters: Array, key: Array) -> Array:
        mean, log_std = moments(parameters)
        return around(parameters, jnp.exp(log_std) * jax.random.normal(key, mean.shape, mean.dtype))

    def mode(parameters: Array) -> Array:
        return moments(parameters)[0].reshape(-1, *shape)

    def log_prob(parameters: Array, action: Array) -> Array:
        mean, log_std = moments(parameters)
        error = (action.reshape(-1, size) - mean) * jnp.exp(-log_std)
        return jnp.sum(-0.5 * error**2 - log_std - 0.5 * math.log(2 * math.pi), axis=-1)

    def entropy(parameters: Array) -> Array:
        return jnp.sum(moments(parameters)[1] + 0.5 * math.log(2 * math.pi * math.e), axis=-1)

    def kl(parameters: Array, others: Array) -> Array:
        (mean, log_std), (other_mean, other_log_std) = moments(parameters), moments(others)
        error = (mean - other_mean) * jnp.exp(-other_log_std)
        shrinks = log_std - other_log_std
        return jnp.sum(0.5 * (jnp.expm1(2.0 * shrinks) + error**2) - shrinks, axis=-1)

    executed = functools.partial(executed_action, spec)
    return ActionDistribution(2 * size, sample, mode, log_prob, entropy, executed, around, kl)


def _squashed(gaussian: ActionDistribution, spec: ActionSpec) -> ActionDistribution:
    """The Gaussian through tanh: actions are in [-1, 1], and scaled to the bounds for the environment."""
    around = gaussian.around
    assert around is not None

    def log_prob(parameters: Array, action: Array) -> Array:
        inside = jnp.clip(action, -_SQUASHED_LIMIT, _SQUASHED_LIMIT)
        before = 0.5 * (jnp.log1p(inside) - jnp.log1p(-inside))
        log_slope = jnp.log(1.0 - jnp.tanh(before) ** 2 + _SLOPE_EPSILON)
        return gaussian.log_prob(parameters, before) - jnp.sum(log_slope.reshape(len(action), -1), axis=-1)

    return gaussian._replace(
        sample=lambda parameters, key: jnp.tanh(gaussian.sample(parameters, key)),
        mode=lambda parameters: jnp.tanh(gaussian.mode(parameters)),
        log_prob=log_prob,
        entropy=None,
        executed=functools.partial(executed_by_model, spec),
        around=lambda parameters, noise: jnp.tanh(around(parameters, noise)),
    )


def symlog(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """``sign(x) log(1 + |x|)``, which compresses large numbers (arXiv:2301.04104)."""
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))


def symexp(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """The inverse of ``symlog``."""
    return jnp.sign(x) * jnp.expm1(jnp.abs(x))


class Bins(NamedTuple):
    """Numbers as distributions over ``n_bins`` points, equally spaced between two bounds of their ``symlog``."""

    n_bins: int = 101
    low: float = -10.0
    high: float = 10.0

    def _position(self, x: Float[Array, "*s"]) -> Float[Array, "*s"]:
        """Distance from the first bin, in bins."""
        spacing = (self.high - self.low) / (self.n_bins - 1)
        return (jnp.clip(symlog(x), self.low, self.high) - self.low) / spacing

    def two_hot(self, x: Float[Array, "*s"]) -> Float[Array, "*s K"]:
        """Weights of the two neighboring bins, whose mean is ``symlog(x)``."""
        position = self._position(x)
        bins = jnp.arange(self.n_bins, dtype=jnp.float32).reshape((1,) * position.ndim + (-1,))
        distance = jnp.abs(position[..., None] - bins)
        return jnp.maximum(1.0 - distance, 0.0)

    def cross_entropy(self, logits: Float[Array, "*s K"], x: Float[Array, "*s"]) -> Float[Array, "*s"]:
        """Cross-entropy between ``two_hot(x)`` and the logits, in nats."""
        return -jnp.sum(self.two_hot(x) * jax.nn.log_softmax(logits), axis=-1)

    def decode(self, logits: Float[Array, "*s K"]) -> Float[Array, "*s"]:
        """The number: expected bin, then ``symexp``."""
        points = jnp.linspace(self.low, self.high, self.n_bins, dtype=jnp.float32)
        points = points.reshape((1,) * (logits.ndim - 1) + (self.n_bins,))
        return symexp(jnp.sum(jax.nn.softmax(logits, axis=-1) * points, axis=-1))


class TanhNormal(NamedTuple):
    """A diagonal Gaussian through tanh, with its log standard deviation between two bounds.

    Its parameters are ``[N, 2 A]``: the mean, and the raw log standard deviation, which a tanh maps into the bounds.

    ``official_log_prob`` multiplies the Gaussian's part by ``A`` and adds its constant once, as SPOWL's code and early
    versions of TD-MPC2's do.
    """

    log_std_min: float = -10.0
    log_std_max: float = 2.0
    official_log_prob: bool = False

    def moments(self, parameters: Float[Array, "N P"]) -> tuple[Array, Array]:
        """Mean and log standard deviation before the tanh, ``[N, A]``."""
        mean, raw = jnp.split(parameters, 2, axis=-1)
        span = self.log_std_max - self.log_std_min
        return mean, self.log_std_min + 0.5 * span * (jnp.tanh(raw) + 1.0)

    def mode(self, parameters: Float[Array, "N P"]) -> Float[Array, "N A"]:
        """The tanh of the mean."""
        return jnp.tanh(self.moments(parameters)[0])

    def sample(self, parameters: Float[Array, "N P"], key: Array) -> tuple[Array, Array]:
        """An action ``[N, A]`` and its log-probability ``[N]``, in nats."""
        mean, log_std = self.moments(parameters)
        noise = jax.random.normal(key, mean.shape)
        action = jnp.tanh(mean + jnp.exp(log_std) * noise)
        size = mean.shape[-1]
        constant, factor = (1, size) if self.official_log_prob else (size, 1)
        gaussian = jnp.sum(-0.5 * noise**2 - log_std, axis=-1) - constant * 0.5 * math.log(2 * math.pi)
        # The log slope of tanh is kept finite by the official codes' small constant.
        log_slope = jnp.log(jnp.maximum(1.0 - action**2, 0.0) + 1e-6)
        return action, factor * gaussian - jnp.sum(log_slope, axis=-1)
