"""Safe policy improvement on finite processes, where everything is exact: the truth, the theorem's bound and ours.

``ladder`` starts at the true difference between a policy's return and that of its latent model, and loosens it step by
step until the theorem's bound is reached; ``improvement`` turns each step into a bound of the improvement. Notation,
with π_b the old policy, π the new one, f the error of the latent model in a state and action, V̄ the value of π in the
latent model and K_V its Lipschitz constant:

==================  ==================================================================================
``gap``             |ρ(π) - ρ̄(π)|, the truth
``errors``          E_π Σ γ^t (|r - R̄| + γ |E V̄(φ(s')) - E V̄(z')|): absolute values
``visits``          E_b Σ γ^t C^(t+1) f: the old policy's visits, a factor C for each action
``length``          C E_b Σ f: (γ C)^t is at most 1; needs C ≤ 1/γ
``distance``        K_V times the Wasserstein distance instead of V̄ itself
``theorem``         K_V ≤ K_R/(1 - γ K_P): Lipschitz constants of the model instead of V̄'s; needs γ K_P < 1
==================  ==================================================================================

Proofs are in ``docs/certificates.md``.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from spi_plugins.certificates import finite
from spi_plugins.certificates.finite import Abstraction, FiniteMDP, Policy
from spi_plugins.certificates.result import Certificate, void

_TINY = 1e-12


class Pair(NamedTuple):
    """An update: the policy that collected the data, and the one after, a policy of latents."""

    old: Policy  # of states: the encoder may have moved since
    new: Float[np.ndarray, "*N Z A"]


class Ratios(NamedTuple):
    """Extremes of the ratio ``new / old`` over all states and actions."""

    largest: Float[np.ndarray, "*N"]
    smallest: Float[np.ndarray, "*N"]


class Errors(NamedTuple):
    """Errors of a latent model in each state and action."""

    reward: Float[np.ndarray, "*N S A"]
    distance: Float[np.ndarray, "*N S A"]  # Wasserstein, with the mass of the end
    value: Float[np.ndarray, "*N S A"]  # of the mean of V̄ after the step


class Constants(NamedTuple):
    """Lipschitz constants in the latent, averaged over the new policy's actions."""

    reward: Float[np.ndarray, "*N"]
    transition: Float[np.ndarray, "*N"]
    value: Float[np.ndarray, "*N"]  # of V̄ itself, not of what bounds it


class Ladder(NamedTuple):
    """Bounds of the return gap, from the truth to the theorem; infinite where a step's condition fails."""

    gap: Float[np.ndarray, "*N"]
    errors: Float[np.ndarray, "*N"]
    visits: Float[np.ndarray, "*N"]
    length: Float[np.ndarray, "*N"]
    distance: Float[np.ndarray, "*N"]
    theorem: Float[np.ndarray, "*N"]


def ratios(old: Policy, new: Policy) -> Ratios:
    """Extremes over all states; infinite where the new policy does what the old one never does."""
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(old > 0, new / old, np.where(new > 0, np.inf, 1.0))
    return Ratios(each.max(axis=(-2, -1)), each.min(axis=(-2, -1)))


def project(old: Policy, new: Policy, constant: float) -> Policy:
    """The closest mixture of the two policies to ``new`` with all ratios in ``[2 - C, C]``.

    With ``old + β (new - old)``, a ratio x becomes ``1 + β (x - 1)``, so the largest β that fits is
    ``(C - 1) / max(D_sup - 1, 1 - D_inf)``.
    """
    largest, smallest = ratios(old, new)
    reach = np.maximum(largest - 1.0, 1.0 - smallest)
    share = np.where(reach > constant - 1.0, (constant - 1.0) / np.maximum(reach, _TINY), 1.0)
    mixture: Policy = old + share[..., None, None] * (new - old)
    return mixture


def improve(mdp: FiniteMDP, old: Policy, constant: float) -> Policy:
    """The best policy of the neighborhood by the old one's advantages, in every state: the update of Theorem 1.

    Each action keeps ``2 - C`` of its probability, and what is left goes to the best actions, up to C times their own.
    """
    advantage = finite.advantages(mdp, old)
    order = np.argsort(-advantage, axis=-1)
    room = 2.0 * (constant - 1.0) * np.take_along_axis(old, order, axis=-1)
    before = np.cumsum(room, axis=-1) - room
    given = np.clip((constant - 1.0) - before, 0.0, room)
    added = np.zeros_like(old)
    np.put_along_axis(added, order, given, axis=-1)
    improved: Policy = (2.0 - constant) * old + added
    return improved


def model_values(mdp: FiniteMDP, abstraction: Abstraction, new: Policy) -> Float[np.ndarray, "*N Z"]:
    """V̄: the new policy's values in the latent model."""
    return finite.values(finite.latent_mdp(mdp, abstraction), new)


def model_errors(mdp: FiniteMDP, abstraction: Abstraction, v: Float[np.ndarray, "*N Z"]) -> Errors:
    """Exact errors of the latent model; ``v`` are its values."""
    n_latents = v.shape[-1]
    reached = finite.push(mdp.transition, abstraction.encoder, n_latents)
    predicted = _at(abstraction.transition, abstraction.encoder)
    line = abstraction.positions
    return Errors(
        reward=np.abs(mdp.reward - _at(abstraction.reward, abstraction.encoder)),
        distance=finite.distance(reached, predicted, None if line is None else line[..., None, None, :]),
        value=np.abs(np.einsum("...saz,...z->...sa", reached - predicted, v)),
    )


def lipschitz_constants(abstraction: Abstraction, new: Policy, v: Float[np.ndarray, "*N Z"]) -> Constants:
    """Exact constants over all pairs of latents and the end, where reward and value are 0."""
    line = abstraction.positions
    reward = _with_zero(finite.averaged(abstraction.reward, new))
    chain = finite.averaged(abstraction.transition, new)
    chain = np.concatenate(
        [chain, np.zeros_like(chain[..., :1, :])], axis=-2
    )  # from the end, only to the end
    apart = finite.distance(
        chain[..., :, None, :], chain[..., None, :, :], None if line is None else line[..., None, None, :]
    )
    return Constants(
        finite.lipschitz(_changes(reward), line),
        finite.lipschitz(apart, line),
        finite.lipschitz(_changes(_with_zero(v)), line),
    )


def ladder(mdp: FiniteMDP, abstraction: Abstraction, pair: Pair) -> Ladder:
    """Every step from the true gap of returns to the theorem's bound."""
    new = finite.composed(pair.new, abstraction.encoder)
    largest = ratios(pair.old, new).largest
    v = model_values(mdp, abstraction, pair.new)
    errors, constants = model_errors(mdp, abstraction, v), lipschitz_constants(abstraction, pair.new, v)
    within = largest * mdp.gamma <= 1.0
    with np.errstate(invalid="ignore", over="ignore"):
        total = errors.reward + mdp.gamma * errors.value
        norm = errors.reward + mdp.gamma * constants.value[..., None, None] * errors.distance
        shrinks = mdp.gamma * constants.transition < 1.0
        bound = np.where(
            shrinks, constants.reward / np.where(shrinks, 1 - mdp.gamma * constants.transition, 1), np.inf
        )
        loose = errors.reward + mdp.gamma * _times(bound[..., None, None], errors.distance)
        old_visits = finite.visits(mdp, pair.old, 1.0)
        return Ladder(
            gap=np.abs(finite.value(mdp, new) - _start_value(mdp, abstraction, v)),
            errors=_sum(finite.visits(mdp, new, mdp.gamma), total),
            visits=_times(largest, _sum(finite.visits(mdp, pair.old, mdp.gamma * largest), total)),
            length=np.where(within, _times(largest, _sum(old_visits, total)), np.inf),
            distance=np.where(within, _times(largest, _sum(old_visits, norm)), np.inf),
            theorem=np.where(within, _times(largest, _sum(old_visits, loose)), np.inf),
        )


def improvement(mdp: FiniteMDP, abstraction: Abstraction, pair: Pair) -> Ladder:
    """Lower bounds of ``ρ(π) - ρ(π_b)`` by each step of the ladder; the first is the truth if the sign is known."""
    new_value = _start_value(mdp, abstraction, model_values(mdp, abstraction, pair.new))
    gain = new_value - finite.value(mdp, pair.old)
    return Ladder(*(gain - loss for loss in ladder(mdp, abstraction, pair)))


def best_abstraction(mdp: FiniteMDP, encoder: np.ndarray, n_latents: int, old: Policy) -> Abstraction:
    """The latent model of an encoder that fits best: averages over the states that share a latent, by visits."""
    weight = finite.visits(mdp, old, mdp.gamma).sum(axis=-1) + _TINY
    one_hot = np.eye(n_latents)[encoder] * weight[..., None]
    share = one_hot / np.maximum(one_hot.sum(axis=-2, keepdims=True), _TINY)
    reached = finite.push(mdp.transition, encoder, n_latents)
    return Abstraction(
        encoder,
        np.einsum("...sz,...sax->...zax", share, reached),
        np.einsum("...sz,...sa->...za", share, mdp.reward),
    )


_ASSUMPTIONS = (
    "the tables are the process",
    "every state and action was looked at: no supremum is estimated",
    "episodes end with probability 1",
)


def certify(mdp: FiniteMDP, abstraction: Abstraction, pair: Pair, *, theorem: bool = False) -> Certificate:
    """Lower bound of the improvement of one update of one process.

    Args:
        mdp: the process.
        abstraction: the encoder after the update, and the latent model.
        pair: the policies before and after.
        theorem: the theorem's bound, from Lipschitz constants and norms, instead of the step ``visits`` of the ladder,
            which knows V̄ and needs no ``C ≤ 1/γ`` as long as its sum converges.
    """
    name = "improvement, by the theorem" if theorem else "improvement"
    largest = float(ratios(pair.old, finite.composed(pair.new, abstraction.encoder)).largest)
    if not math.isfinite(largest):
        unbounded = "the new policy takes actions that the old one never takes: the ratio is unbounded"
        return void(name, unbounded, _ASSUMPTIONS)
    if theorem and (reason := _theorem_reason(mdp, abstraction, pair, largest)):
        return void(name, reason, _ASSUMPTIONS)
    losses, bounds = ladder(mdp, abstraction, pair), improvement(mdp, abstraction, pair)
    loss, bound = (float(steps.theorem if theorem else steps.visits) for steps in (losses, bounds))
    if not math.isfinite(loss):
        reason = (
            f"C = {largest:.4g} weighs late steps by more and more: Σ γ^t C^t of the visits does not converge"
        )
        return void(name, reason, _ASSUMPTIONS)
    return Certificate(name, bound, 1.0, _ASSUMPTIONS, vacuity=loss / max(value_range(mdp), _TINY))


def _theorem_reason(mdp: FiniteMDP, abstraction: Abstraction, pair: Pair, largest: float) -> str | None:
    """Why the theorem does not apply, if it does not."""
    if largest * mdp.gamma > 1:
        return f"C = {largest:.4g} is above 1/γ = {1 / mdp.gamma:.4g}"
    v = model_values(mdp, abstraction, pair.new)
    shrinking = mdp.gamma * float(lipschitz_constants(abstraction, pair.new, v).transition)
    return f"γ K_P = {shrinking:.4g} is not below 1" if shrinking >= 1 else None


def value_range(mdp: FiniteMDP) -> float:
    """How far two policies' returns can be apart: best minus worst, by value iteration."""
    best, worst = np.zeros(mdp.reward.shape[-2]), np.zeros(mdp.reward.shape[-2])
    for _ in range(10_000):
        higher = (mdp.reward + mdp.gamma * mdp.transition @ best).max(axis=-1)
        lower = (mdp.reward + mdp.gamma * mdp.transition @ worst).min(axis=-1)
        change = max(np.abs(higher - best).max(), np.abs(lower - worst).max())
        best, worst = higher, lower
        if change < 1e-9:
            break
    return float(mdp.start @ (best - worst))


def _at(table: np.ndarray, encoder: np.ndarray) -> np.ndarray:
    """Rows of a table of latents for each state."""
    index = encoder.reshape(*encoder.shape, *(1,) * (table.ndim - encoder.ndim))
    return np.take_along_axis(table, index, axis=encoder.ndim - 1)


def _start_value(mdp: FiniteMDP, abstraction: Abstraction, v: np.ndarray) -> np.ndarray:
    start: np.ndarray = (finite.push(mdp.start, abstraction.encoder, v.shape[-1]) * v).sum(axis=-1)
    return start


def _with_zero(x: Float[np.ndarray, "*N Z"]) -> Float[np.ndarray, "*N Z+1"]:
    return np.concatenate([x, np.zeros_like(x[..., :1])], axis=-1)


def _changes(x: Float[np.ndarray, "*N Z"]) -> Float[np.ndarray, "*N Z Z"]:
    changes: Float[np.ndarray, "*N Z Z"] = np.abs(x[..., :, None] - x[..., None, :])
    return changes


def _times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The product, where 0 times infinity is 0: an error that never occurs costs nothing."""
    product: np.ndarray = np.where((a == 0) | (b == 0), 0.0, a * b)
    return product


def _sum(visits: np.ndarray, error: np.ndarray) -> np.ndarray:
    total: np.ndarray = _times(visits, error).sum(axis=(-2, -1))
    return total
