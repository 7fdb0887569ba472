"""Finite Markov decision processes and their abstractions: exact values, visits and distances, in float64.

Arrays may have leading axes ``*N``, for many problems at once. Where the probabilities of a state and an action sum to
less than 1, the rest ends the episode: the end is not one of the states, and its value is 0.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

Policy = Float[np.ndarray, "*N S A"]  # rows of probabilities


class FiniteMDP(NamedTuple):
    """A finite Markov decision process."""

    transition: Float[np.ndarray, "*N S A S"]
    reward: Float[np.ndarray, "*N S A"]
    start: Float[np.ndarray, "*N S"]  # distribution of the first state
    gamma: float


class Abstraction(NamedTuple):
    """Latents of states, and a latent model; its episodes end as those of a ``FiniteMDP``.

    Attributes:
        encoder: the latent of each state.
        transition: of the latent model.
        reward: of the latent model.
        positions: of the latents on a line, the last one that of the end, which sets how far apart they are; ``None``
            for a distance of 1 between any two.
    """

    encoder: Int[np.ndarray, "*N S"]
    transition: Float[np.ndarray, "*N Z A Z"]
    reward: Float[np.ndarray, "*N Z A"]
    positions: Float[np.ndarray, "*N Z+1"] | None = None


def without_terminal(mdp: FiniteMDP, terminal: Bool[np.ndarray, " S"]) -> FiniteMDP:
    """Make reaching a terminal state, which an absorbing table has, the end of the episode."""
    transition = np.where(terminal, 0.0, mdp.transition)
    transition[..., terminal, :, :] = 0.0
    reward = np.where(terminal[:, None], 0.0, mdp.reward)
    return mdp._replace(transition=transition, reward=reward)


def averaged(table: np.ndarray, policy: Policy) -> np.ndarray:
    """The mean over a policy's actions of a table ``[*N, S, A]`` or ``[*N, S, A, X]``."""
    subscripts = "...sa,...sa->...s" if table.ndim == policy.ndim else "...sa,...sax->...sx"
    mean: np.ndarray = np.einsum(subscripts, policy, table)
    return mean


def values(mdp: FiniteMDP, policy: Policy) -> Float[np.ndarray, "*N S"]:
    """Discounted return from every state."""
    chain = averaged(mdp.transition, policy)
    return _solve(np.eye(chain.shape[-1]) - mdp.gamma * chain, averaged(mdp.reward, policy))


def value(mdp: FiniteMDP, policy: Policy) -> Float[np.ndarray, "*N"]:
    """Expected discounted return of an episode."""
    total: Float[np.ndarray, "*N"] = (mdp.start * values(mdp, policy)).sum(axis=-1)
    return total


def visits(mdp: FiniteMDP, policy: Policy, weight: np.ndarray | float) -> Float[np.ndarray, "*N S A"]:
    """Expected visits of states and actions in an episode, the t-th step weighted by ``weight ** t``.

    Infinite where the sum does not converge. The sum of the visits with weight 1 is the mean length of an episode.
    """
    chain = averaged(mdp.transition, policy)
    weight = np.broadcast_to(weight, chain.shape[:-2])
    radius = np.abs(np.linalg.eigvals(chain)).max(axis=-1)
    converges = weight * radius < 1 - 1e-9
    matrix = np.eye(chain.shape[-1]) - np.where(converges, weight, 0.0)[..., None, None] * chain
    states = _solve(np.swapaxes(matrix, -1, -2), mdp.start)
    return np.where(converges[..., None, None], states[..., None] * policy, np.inf)


def advantages(mdp: FiniteMDP, policy: Policy) -> Float[np.ndarray, "*N S A"]:
    """Exact advantages."""
    v = values(mdp, policy)
    after = np.einsum("...sax,...x->...sa", mdp.transition, v)
    gain: Float[np.ndarray, "*N S A"] = mdp.reward + mdp.gamma * after - v[..., None]
    return gain


def composed(policy: Policy, encoder: Int[np.ndarray, "*N S"]) -> Policy:
    """A policy of latents as one of states."""
    return np.take_along_axis(policy, encoder[..., None], axis=-2)


def latent_mdp(mdp: FiniteMDP, abstraction: Abstraction) -> FiniteMDP:
    """The latent model as a process of its own."""
    n = abstraction.reward.shape[-2]
    return FiniteMDP(
        abstraction.transition, abstraction.reward, push(mdp.start, abstraction.encoder, n), mdp.gamma
    )


def push(mass: np.ndarray, encoder: Int[np.ndarray, "*N S"], n_latents: int) -> np.ndarray:
    """Distributions of latents for distributions of states, ``[*N, S]`` or ``[*N, S, A, S]``."""
    one_hot = np.eye(n_latents)[encoder]
    subscripts = "...s,...sz->...z" if mass.ndim == encoder.ndim else "...qas,...sz->...qaz"
    pushed: np.ndarray = np.einsum(subscripts, mass, one_hot)
    return pushed


def distance(
    p: Float[np.ndarray, "*M Z"], q: Float[np.ndarray, "*M Z"], positions: np.ndarray | None
) -> Float[np.ndarray, "*M"]:
    """Wasserstein distance of two distributions whose missing mass is at the end.

    On a line that is the area between the distribution functions; for equal distances it is the total variation.
    ``positions`` must broadcast against ``p`` and the end.
    """
    gap = with_end(p) - with_end(q)
    if positions is None:
        total: Float[np.ndarray, "*M"] = 0.5 * np.abs(gap).sum(axis=-1)
        return total
    order = np.argsort(positions, axis=-1)
    steps = np.diff(np.take_along_axis(positions, order, axis=-1), axis=-1)
    order = np.broadcast_to(order, gap.shape)
    below = np.cumsum(np.take_along_axis(gap, order, axis=-1), axis=-1)[..., :-1]
    area: Float[np.ndarray, "*M"] = (np.abs(below) * steps).sum(axis=-1)
    return area


def with_end(p: Float[np.ndarray, "*M Z"]) -> Float[np.ndarray, "*M Z+1"]:
    """The distribution with the mass that ends the episode as its last entry."""
    return np.concatenate([p, 1.0 - p.sum(axis=-1, keepdims=True)], axis=-1)


def lipschitz(change: Float[np.ndarray, "*N Z Z"], positions: np.ndarray | None) -> Float[np.ndarray, "*N"]:
    """The largest change per distance over all pairs of latents and the end."""
    slope = change
    if positions is not None:
        gaps = np.abs(positions[..., :, None] - positions[..., None, :])
        apart = change / np.where(gaps > 0, gaps, 1.0)
        slope = np.where(gaps > 0, apart, np.where(change > 1e-12, np.inf, 0.0))
    largest: Float[np.ndarray, "*N"] = slope.max(axis=(-2, -1))
    return largest


def _solve(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    solved: np.ndarray = np.linalg.solve(matrix, vector[..., None])[..., 0]
    return solved
