"""Random processes with encoders that merge states, latent models and updates, many at once: to try bounds on."""

from typing import NamedTuple

import numpy as np

from spi_plugins.certificates import finite
from spi_plugins.certificates.finite import Abstraction, FiniteMDP, Policy
from spi_plugins.certificates.tabular import Pair


class Problems(NamedTuple):
    """``n`` problems along the first axis of every array."""

    mdp: FiniteMDP
    abstraction: Abstraction
    pair: Pair


class Sizes(NamedTuple):
    """How many of what a problem has."""

    states: int = 12
    latents: int = 5
    actions: int = 3


def random_problems(
    rng: np.random.Generator,
    n: int,
    *,
    gamma: float = 0.9,
    constant: float = 1.05,
    noise: float = 0.0,
    line: bool = False,
    sizes: Sizes = Sizes(),  # noqa: B008  immutable
) -> Problems:
    """Draw problems whose encoder is exact without ``noise``: states that share a latent behave alike.

    Args:
        rng: source of randomness.
        n: number of problems.
        gamma: discount.
        constant: C; every new policy is in the neighborhood of the old one, and reaches its border.
        noise: share of transition and reward that the latent model does not know of.
        line: put the latents on a line instead of at equal distances.
        sizes: of each problem.
    """
    states, latents, actions = sizes
    encoder = np.sort(rng.integers(latents, size=(n, states)), axis=1)
    encoder[:, :latents] = np.arange(latents)  # every latent has a state
    ending = rng.uniform(0.02, 0.2, (n, latents, actions, 1))
    transition = _distributions(rng, (n, latents, actions, latents)) * (1 - ending)
    reward = rng.normal(size=(n, latents, actions))
    # A state of the latent that is reached, by weights of its own.
    one_hot = np.eye(latents)[encoder]
    weight = rng.uniform(0.1, 1, (n, states, 1)) * one_hot
    within = np.swapaxes(weight / weight.sum(axis=1, keepdims=True), -1, -2)
    index = np.arange(n)[:, None], encoder
    exact = np.einsum("nsaz,nzx->nsax", transition[index], within)
    other = _distributions(rng, exact.shape) * (1 - ending[index])
    mdp = FiniteMDP(
        (1 - noise) * exact + noise * other,
        reward[index] + noise * rng.normal(size=(n, states, actions)),
        _distributions(rng, (n, states)),
        gamma,
    )
    positions = np.cumsum(rng.uniform(0.2, 1, (n, latents + 1)), axis=1) if line else None
    new = _distributions(rng, (n, latents, actions), sharpness=1.5)
    old = neighbor(rng, finite.composed(new, encoder), constant)
    return Problems(mdp, Abstraction(encoder, transition, reward, positions), Pair(old, new))


def neighbor(rng: np.random.Generator, new: Policy, constant: float) -> Policy:
    """An old policy such that all ratios ``new / old`` are in ``[2 - C, C]``, and one of them is at the border."""
    # old = new / x with mean 1 under new: draw 1/x around 1, center it, and scale it into [1/C, 1/(2 - C)].
    tilt = rng.normal(size=new.shape)
    tilt -= (new * tilt).sum(axis=-1, keepdims=True)
    low, high = 1 - 1 / constant, 1 / (2 - constant) - 1
    reach = np.maximum(tilt.max(axis=(-2, -1)) / high, -tilt.min(axis=(-2, -1)) / low)
    old: Policy = new * (1 + tilt / reach[..., None, None])
    return old


def _distributions(rng: np.random.Generator, shape: tuple[int, ...], sharpness: float = 1.0) -> np.ndarray:
    weights = np.exp(sharpness * rng.normal(size=shape))
    probabilities: np.ndarray = weights / weights.sum(axis=-1, keepdims=True)
    return probabilities
