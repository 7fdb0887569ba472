"""Action heads: what a policy on a latent and a search for plans do with actions of one kind.

An action has two forms. Plans consist of the model's actions: floats ``[A]`` in [-1, 1] for a ``Box``, int32 ``[*S]``
otherwise. Networks read vectors ``[A]``, which are the same for a ``Box`` and one-hots for discrete entries. A search
fits its proposals to the mean and the deviation of vectors; the mean of one-hots is the probability of each value.

Discrete actions are drawn and never relaxed: the networks are trained on one-hots, and what they predict between them
means nothing. The policy's gradient goes straight through the draw to the probabilities (Bengio et al.,
arXiv:1308.3432, as in DreamerV2), so that one draw suffices for any number of entries and values.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from spi_plugins.distributions import TanhNormal

# The share of uniform draws in the first proposal of a decision: what the last plan excluded is searched again.
_RESTART = 0.5


class Proposal(NamedTuple):
    """The distribution that sequences are drawn from, by the vectors of their actions."""

    mean: Float[Array, "H A"]
    std: Float[Array, "H A"]


class ActionHead(NamedTuple):
    """Pure functions for one kind of actions; ``[...]`` are any leading axes.

    Attributes:
        n_parameters: outputs ``P`` of the policy's network.
        sample: ``(parameters [N, P], key) -> (vectors [N, A], [N])``, the policy's draws, and numbers whose mean is
            minus its entropy in nats; both are differentiable.
        mode: ``(parameters [N, P]) -> vectors [N, A]`` of the policy's most likely actions.
        imitation: ``(parameters [N, P], vectors [N, A]) -> [N]``, a loss that makes the mode these actions: the squared
            error of a ``Box``'s, in [-1, 1], and the cross-entropy of discrete ones, summed over entries.
        vector: ``(actions) -> vectors [..., A]``; vectors stay as they are.
        action: ``(vectors [..., A]) -> actions``, of probabilities the most likely ones.
        bounded: ``(actions) -> actions`` without NaN and within bounds: a policy that diverged must not spoil plans.
        restored: ``(stored [..., E]) -> actions``, out of a replay buffer.
        uniform: ``(n, key) -> actions [n, ...]``.
        start: ``(mean [H, A], max_std) -> Proposal``, what a decision begins with around the last plan.
        widened: ``(Proposal, min_std, max_std) -> Proposal``, one fitted to elites, made to exclude nothing.
        draw: ``(Proposal, n, key) -> actions [H, n, ...]``.
        explore: ``(action, Proposal, key) -> action``, what is executed in training instead of a plan's first action.
    """

    n_parameters: int
    sample: Callable[[Array, Array], tuple[Array, Array]]
    mode: Callable[[Array], Array]
    imitation: Callable[[Array, Array], Array]
    vector: Callable[[Array], Array]
    action: Callable[[Array], Array]
    bounded: Callable[[Array], Array]
    restored: Callable[[Array], Array]
    uniform: Callable[[int, Array], Array]
    start: Callable[[Array, float], Proposal]
    widened: Callable[[Proposal, float, float], Proposal]
    draw: Callable[[Proposal, int, Array], Array]
    explore: Callable[[Array, Proposal, Array], Array]


def box_head(size: int, policy: TanhNormal | None = None) -> ActionHead:
    """Vectors in [-1, 1]: the policy is a Gaussian through tanh, proposals are clipped Gaussians."""
    policy = policy or TanhNormal()

    def same(action: Array) -> Array:
        return action

    def draw(proposal: Proposal, n: int, key: Array) -> Array:
        mean, std = proposal
        noise = jax.random.normal(key, (mean.shape[0], n, mean.shape[1]))
        return jnp.clip(mean[:, None] + std[:, None] * noise, -1.0, 1.0)

    return ActionHead(
        n_parameters=2 * size,
        sample=policy.sample,
        mode=policy.mode,
        imitation=lambda parameters, vectors: jnp.sum((policy.mode(parameters) - vectors) ** 2, axis=-1),
        vector=same,
        action=same,
        bounded=lambda action: jnp.clip(jnp.nan_to_num(action), -1.0, 1.0),
        restored=same,
        uniform=lambda n, key: jax.random.uniform(key, (n, size), minval=-1.0, maxval=1.0),
        start=lambda mean, max_std: Proposal(mean, jnp.full_like(mean, max_std)),
        widened=lambda fitted, low, high: Proposal(fitted.mean, jnp.clip(fitted.std, low, high)),
        draw=draw,
        explore=lambda action, proposal, key: action + proposal.std[0] * jax.random.normal(key, action.shape),
    )


def discrete_head(nvec: tuple[int, ...], shape: tuple[int, ...]) -> ActionHead:
    """Entries with ``nvec`` values: policy and proposals are categorical, independent for each entry.

    A plan's deviations do not matter, its probabilities are at least ``min_std`` before they are normalized, and in
    training the first action is drawn from them. ``shape`` is that of an action, ``()`` for ``Discrete``.
    """
    uniform = jnp.asarray(np.repeat(1.0 / np.asarray(nvec), nvec), jnp.float32)

    def entries(x: Array) -> list[Array]:
        ends = itertools.accumulate(nvec)
        return [x[..., end - n : end] for n, end in zip(nvec, ends, strict=True)]

    def most_likely(scores: Array) -> Array:
        values = [jnp.argmax(part, axis=-1).astype(jnp.int32) for part in entries(scores)]
        return jnp.stack(values, axis=-1).reshape(*scores.shape[:-1], *shape)

    def drawn(logits: Array, key: Array) -> Array:
        return most_likely(logits + jax.random.gumbel(key, logits.shape))

    def vector(action: Array) -> Array:
        if jnp.issubdtype(action.dtype, jnp.floating):
            return action
        values = action.reshape(*action.shape[: action.ndim - len(shape)], len(nvec))
        hot = [jax.nn.one_hot(values[..., i], n, dtype=jnp.float32) for i, n in enumerate(nvec)]
        return jnp.concatenate(hot, axis=-1)

    def log_probabilities(parameters: Array) -> Array:
        return jnp.concatenate([jax.nn.log_softmax(part) for part in entries(parameters)], axis=-1)

    def sample(parameters: Array, key: Array) -> tuple[Array, Array]:
        log_probs = log_probabilities(parameters)
        probs = jnp.exp(log_probs)
        straight = vector(drawn(log_probs, key)) + probs - jax.lax.stop_gradient(probs)
        # The entropy itself: the gradient of a draw's log-probability is 0 in the mean.
        return straight, jnp.sum(probs * log_probs, axis=-1)

    def normalized(weights: Array) -> Array:
        return jnp.concatenate([x / jnp.sum(x, axis=-1, keepdims=True) for x in entries(weights)], axis=-1)

    def start(mean: Array, max_std: float) -> Proposal:
        # Rows of zeros, a plan's last and all at the start of an episode, become uniform.
        probs = normalized((1.0 - _RESTART) * mean + _RESTART * uniform[None])
        return Proposal(probs, jnp.sqrt(probs * (1.0 - probs)))

    def draw(proposal: Proposal, n: int, key: Array) -> Array:
        logits = jnp.log(proposal.mean)[:, None]
        return drawn(jnp.broadcast_to(logits, (len(logits), n, logits.shape[-1])), key)

    return ActionHead(
        n_parameters=sum(nvec),
        sample=sample,
        mode=lambda parameters: vector(most_likely(parameters)),
        imitation=lambda parameters, vectors: -jnp.sum(log_probabilities(parameters) * vectors, axis=-1),
        vector=vector,
        action=most_likely,
        bounded=lambda action: action,
        restored=lambda stored: jnp.round(stored).astype(jnp.int32).reshape(*stored.shape[:-1], *shape),
        uniform=lambda n, key: jax.random.randint(key, (n, len(nvec)), 0, np.asarray(nvec)[None]).reshape(
            n, *shape
        ),
        start=start,
        widened=lambda fitted, low, high: Proposal(normalized(jnp.maximum(fitted.mean, low)), fitted.std),
        draw=draw,
        explore=lambda action, proposal, key: drawn(jnp.log(proposal.mean[0]), key),
    )


def make_action_head(
    nvec: tuple[int, ...], shape: tuple[int, ...], size: int, policy: TanhNormal | None = None
) -> ActionHead:
    """The head of discrete actions of a shape, or of a ``Box`` of ``size`` numbers if ``nvec`` is empty."""
    return discrete_head(nvec, shape) if nvec else box_head(size, policy)
