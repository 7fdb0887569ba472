"""Lipschitz constants in the latent: certified ones from operator norms, and estimates, which are named so."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spi_plugins.certificates.result import Diagnostic
from spi_plugins.networks.spectral import dense_norm_bound

# Slopes of at most 1; those of gelu, silu and mish go above.
_SLOPE_1 = frozenset(
    {"tanh", "relu", "elu", "leaky_relu", "hard_tanh", "softplus", "sigmoid", "identity", "relu6"}
)


def head_constant(policy: Mapping[str, Any], activation: str, certified: float | None = None) -> float:
    """How fast a categorical policy changes with its latent, in total variation: a certified bound.

    The product of the layers' norms bounds the logits; ``actor_lipschitz`` sets a bound beforehand, which training
    cannot exceed. A change of the logits by δ moves the probabilities by ``J δ`` with ``J = diag(p) - p p^T``, and
    ``|J δ|_1 <= std_p(δ) <= (max δ - min δ) / 2 <= |δ|_2 / sqrt(2)``, so the total variation, half of it, by at most
    ``sqrt(2) / 4 |δ|_2``. The variances of independent entries of an action add up, so the same holds for several.
    Infinite for activations that are steeper than 1.

    Args:
        policy: the policy's parameters, ``{"pi": ..., "actor": ...}``.
        activation: between the layers.
        certified: the bound of the logits' constant that the policy was built with, if any.
    """
    if certified is not None:
        return math.sqrt(2) / 4 * certified
    layers = policy.get("pi", {})
    if layers and activation not in _SLOPE_1:
        return math.inf
    kernels = [layer["kernel"] for layer in layers.values()] + [policy["actor"]["dense"]["kernel"]]
    return math.sqrt(2) / 4 * math.prod(float(dense_norm_bound(kernel)) for kernel in kernels)


def policy_averaged(constant: float, diameter: float, head: float) -> float:
    """The constant of a model's step averaged over a policy's actions, ``K + diam Lip_TV(π)``.

    A step from another latent differs by at most K for the same action, and the actions' outcomes, at most ``diameter``
    apart, are weighed differently by at most the total variation.
    """
    return constant + (0.0 if diameter == 0 else diameter * head)


def value_constant(reward: float, transition: float, gamma: float) -> float:
    """``K_V = K_R / (1 - γ K_P)``; infinite if ``γ K_P`` is not below 1."""
    return reward / (1 - gamma * transition) if gamma * transition < 1 else math.inf


def empirical_constant(name: str, z: NDArray[Any], image: NDArray[Any]) -> Diagnostic:
    """The steepest slope between pairs of samples: a lower bound of the true constant, so nothing follows from it."""
    flat = [np.asarray(x, np.float64).reshape(len(x), -1) for x in (z, image)]
    apart, moved = (np.sqrt(((x[:, None] - x[None]) ** 2).sum(axis=-1)) for x in flat)
    slopes = np.where(apart > 1e-9, moved / np.maximum(apart, 1e-9), 0.0)
    return Diagnostic(name, float(slopes.max()), "an estimate: the true constant is at least this large")
