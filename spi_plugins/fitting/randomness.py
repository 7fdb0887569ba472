"""Whether a world looks random, and whether the draws of a fitted model show it.

Discrete observations are tested by repeats: the probability that two visits to the same state and action led to
different next states. The model shows it if its draws are states that followed the same pair.

Other observations are tested by the residuals of held-out steps, the errors of the draws' mean. What a better fit would
mend is alike for neighbors, chance is not: half of the mean squared difference between the residuals of nearest
neighbors estimates the variance of chance (the delta test of Pi and Peterson, 1994, on residuals). If the members of an
ensemble disagree about as much, there are too few data to tell. The model shows chance if the rank of the true next
state among its draws is uniform (the rank histogram of ensemble forecasts).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import NDArray

from spi_plugins.actions import restored_action
from spi_plugins.buffers import Buffer, Windows, windows
from spi_plugins.networks.heads import action_features
from spi_plugins.types import ArraySpec
from spi_plugins.world_models.model import FittedModel

# Chance in fewer steps, or with a smaller part in their variance, may be an error of the test by residuals.
_RANDOM = 0.05
_FEWEST, _MOST = 100, 1500  # steps that are tested
_DRAWS = 32
# Largest distance of the ranks' distribution from the uniform one, and smallest share of draws that are states.
_UNIFORM, _STATES = 0.15, 0.9
# Largest squared distance of latents of the same state; those of different ones are at least 1.
_SAME = 1e-3
# Numbers are equal up to this share of chance's deviation: small errors of the model are not about chance.
_TIE = 0.25


class Randomness(NamedTuple):
    """What was found.

    Attributes:
        test: ``"repeats"`` or ``"residuals"``.
        share: the probability that repeats differ, or the share of chance in the variance of a step's change.
        looks_random: whether there is chance.
        shown: whether the model's draws show it; ``None`` if nothing looks random.
    """

    test: str
    share: float
    looks_random: bool
    shown: bool | None


def find_randomness(fitted: FittedModel, train: Buffer, rest: Buffer, seed: int) -> Randomness | None:
    """Test the data that a model was fitted to, or the held-out rest; ``None`` if there are too few to tell."""
    spec = fitted.observations
    parts = [spec] if isinstance(spec, ArraySpec) else [part for _, part in spec]
    key = jax.random.key(seed)
    if all(part.nvec or part.kind == "multi_binary" for part in parts):
        return _by_repeats(fitted, _distinct_steps(train, None), key)
    steps = _distinct_steps(rest, _MOST)
    return _by_residuals(fitted, steps, key) if steps.valid.size >= _FEWEST else None


def in_words(found: Mapping[str, Any]) -> str:
    """A sentence about the fields of a ``Randomness``; empty if nothing looks random."""
    if not found["looks_random"]:
        return ""
    share = f"{found['share']:.2g}"
    if found["test"] == "repeats":
        evidence = (
            f"two visits to the same state and action lead to different states with probability {share}"
        )
    else:
        evidence = f"chance makes about {share} of the variance of a step's change"
    if found["shown"]:
        return f"The world looks random ({evidence}), and the model's draws show it."
    better = "categorical" if found["test"] == "repeats" else "mixture"
    return (
        f"The world looks random ({evidence}), but the model's draws do not show it: "
        f"try transition_density={better!r}, or a longer fit."
    )


def _distinct_steps(buffer: Buffer, most: int | None) -> Windows:
    """Real steps of a buffer that has not been overwritten, each of them once, at most ``most`` evenly spaced ones."""
    slots = jax.tree.map(np.asarray, buffer.slots)
    inside = np.arange(1, slots.valid.shape[1])[None] < np.asarray(buffer.size)[:, None]
    env, time = np.nonzero(inside & slots.valid[:, 1:])
    if most is not None and len(env) > most:
        chosen = np.linspace(0, len(env) - 1, most).astype(int)
        env, time = env[chosen], time[chosen]
    return windows(jax.tree.map(lambda x: jnp.asarray(np.stack([x[env, time], x[env, time + 1]])), slots))


def _by_repeats(fitted: FittedModel, steps: Windows, key: Array) -> Randomness | None:
    seen, following = (_rows(jax.tree.map(lambda x, t=t: x[t], steps.obs)) for t in (0, 1))
    pair = np.unique(np.hstack([seen, _rows(steps.action[0])]), axis=0, return_inverse=True)[1].ravel()
    _, first, outcome = np.unique(following, axis=0, return_index=True, return_inverse=True)
    outcome = outcome.ravel()
    both = pair * len(first) + outcome
    known, counts = np.unique(both, return_counts=True)
    visits = np.bincount(pair)
    equal = np.bincount(known // len(first), counts * (counts - 1.0), len(visits))
    repeated = visits > 1
    if not repeated.any():
        return None
    differs = np.zeros(len(visits))
    differs[repeated] = 1.0 - equal[repeated] / (visits * (visits - 1.0))[repeated]
    share = float((visits * differs)[repeated].sum() / visits[repeated].sum())
    if share == 0.0:
        return Randomness("repeats", share, False, None)
    places = np.flatnonzero(differs[pair] > 0.0)
    places = places[np.unique(np.linspace(0, len(places) - 1, min(len(places), 512)).astype(int))]
    z = _encoded(fitted, steps, 0, places)
    drawn = _draws(fitted, z, steps.action[0][places], key, 1)[0]
    states = _encoded(fitted, steps, 1, first)
    nearest, distance = _nearest(drawn, states)
    same = np.isin(pair[places] * len(first) + nearest, known) & (distance < _SAME)
    return Randomness("repeats", share, True, bool(same.mean() >= _STATES))


def _by_residuals(fitted: FittedModel, steps: Windows, key: Array) -> Randomness:
    z, next_z = (_encoded(fitted, steps, t, np.arange(steps.valid.shape[1])) for t in (0, 1))
    action = restored_action(fitted.actions, steps.action[0])
    draws = _draws(fitted, z, steps.action[0], key, _DRAWS)
    residual = next_z - draws.mean(axis=0)
    # Actions count as much as the largest difference of a latent's entry, so that discrete ones are kept apart.
    features = np.asarray(action_features(fitted.actions, action), np.float64) * np.ptp(z, axis=0).max()
    neighbor, _ = _nearest(*[np.hstack([z, features])] * 2, others=True)
    chance = 0.5 * np.mean((residual - residual[neighbor]) ** 2, axis=0)
    share = float(chance.sum() / max(np.var(next_z - z, axis=0).sum(), 1e-12))
    doubt = 0.0
    if fitted.model.uncertainty is not None:
        spread = jax.jit(fitted.model.uncertainty)(fitted.params, _latents(fitted, z), action)
        doubt = float(np.mean(np.square(spread))) * z.shape[1]
    if share < _RANDOM or chance.sum() < 2.0 * doubt:
        return Randomness("residuals", min(share, 1.0), False, None)
    tie = _TIE * np.sqrt(chance)
    below, equal = (draws < next_z - tie).sum(axis=0), (np.abs(draws - next_z) <= tie).sum(axis=0)
    among = below + np.random.default_rng(0).uniform(size=z.shape) * (equal + 1.0)
    ranks, weights = (among / (_DRAWS + 1.0)).ravel(), np.broadcast_to(chance, z.shape).ravel()
    order = np.argsort(ranks)
    distance = np.abs(np.cumsum(weights[order]) / weights.sum() - ranks[order]).max()
    return Randomness("residuals", min(share, 1.0), True, bool(distance <= _UNIFORM))


def _rows(tree: Any) -> NDArray[Any]:
    leaves = jax.tree.leaves(tree)
    return np.hstack([np.asarray(x).reshape(len(x), -1) for x in leaves])


def _encoded(fitted: FittedModel, steps: Windows, time: int, rows: NDArray[Any]) -> NDArray[np.float64]:
    """Flat latents of observations, before (0) or after (1) the steps ``rows``."""
    obs = jax.tree.map(lambda x: x[time][rows], steps.obs)
    z = jax.jit(fitted.model.encode)(fitted.params, obs)
    return np.asarray(z, np.float64).reshape(len(rows), -1)


def _latents(fitted: FittedModel, z: NDArray[Any]) -> Array:
    return jnp.asarray(z, jnp.float32).reshape(len(z), *fitted.model.spec.latent_shape)


def _draws(
    fitted: FittedModel, z: NDArray[Any], stored: Array, key: Array, count: int
) -> Float[np.ndarray, "D N Z"]:
    """Independent draws of the next latent, flat."""
    latents, action = _latents(fitted, z), restored_action(fitted.actions, stored)
    step = jax.jit(lambda params, key: fitted.model.step(params, latents, action, key).next_z)
    drawn = [np.asarray(step(fitted.params, k), np.float64) for k in jax.random.split(key, count)]
    return np.stack(drawn).reshape(count, len(z), -1)


def _nearest(
    points: NDArray[Any], targets: NDArray[Any], *, others: bool = False
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The index of the nearest target of each point, and its squared distance; ``others`` leaves out its own."""
    squares = np.sum(points**2, axis=1)[:, None] + np.sum(targets**2, axis=1)[None] - 2.0 * points @ targets.T
    if others:
        np.fill_diagonal(squares, np.inf)
    index = squares.argmin(axis=1)
    return index, squares[np.arange(len(points)), index]
