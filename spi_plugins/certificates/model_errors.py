"""Errors of a latent model on fresh data of the old policy, as the theory states them: L1, Euclidean, true rewards."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from numpy.typing import NDArray

from spi_plugins.certificates.concentration import bootstrap_upper
from spi_plugins.certificates.values import LatentStep, latent_returns
from spi_plugins.types import Params
from spi_plugins.world_models.deep_mdp import DeepMDP


class Transitions(NamedTuple):
    """``N`` steps of the old policy, in the latents of the encoder after the update."""

    z: Float[Array, " N *Z"]
    action: Array
    reward: Float[Array, " N"]
    next_z: Float[Array, " N *Z"]
    terminated: Bool[Array, " N"]


class StepErrors(NamedTuple):
    """What each step says of the model.

    Attributes:
        reward: |r - R̄|.
        transition: Euclidean distance of the next latent from one drawn by the model; 0 where the episode ended. Its
            mean bounds the Wasserstein distance, and stays above 0 for a right model of a stochastic world.
        end: the error of the probability that the episode ended.
        residual: the value after the step minus the model's; its mean in a state and action vanishes for a right model.
        value: of the latent reached, in the model.
    """

    reward: Float[Array, " N"]
    transition: Float[Array, " N"]
    end: Float[Array, " N"]
    residual: Float[Array, " N"]
    value: Float[Array, " N"]


def step_errors(
    model: DeepMDP,
    params: Params,
    step: LatentStep,
    data: Transitions,
    key: Array,
    *,
    horizon: int,
    gamma: float,
) -> StepErrors:
    """Errors of every step; ``step`` is one step of the new policy in the model, for values by rollouts."""
    draw_key, value_key = jax.random.split(key)
    drawn = model.predict(params, data.z, data.action, draw_key)
    gap = (drawn - data.next_z).reshape(len(data.reward), -1)
    alive = 1.0 - data.terminated.astype(jnp.float32)
    predicted_end = jnp.zeros_like(alive) if model.termination is None else model.termination(params, drawn)
    # The same random numbers for both, which cancel most of the rollouts' own noise.
    reached, foreseen = (latent_returns(step, z, value_key, horizon, gamma) for z in (data.next_z, drawn))
    return StepErrors(
        reward=jnp.abs(data.reward - model.reward(params, data.z, data.action)),
        transition=alive * jnp.linalg.norm(gap, axis=-1),
        end=jnp.abs(data.terminated - predicted_end),
        residual=alive * reached - (1.0 - predicted_end) * foreseen,
        value=reached,
    )


class Estimate(NamedTuple):
    """A mean per step and an upper bound of it, by the bootstrap over episodes: approximate."""

    mean: float
    upper: float


class ModelErrors(NamedTuple):
    """Errors on data of the old policy.

    Attributes:
        reward: L_R.
        transition: L_P, by the coupling of ``StepErrors.transition``.
        end: mass of the episode's end that the model puts elsewhere.
        value_aware: an estimate, from below, of the mean |E V̄(φ(s')) - E V̄(z')|: what of the transition error matters.
        largest_value: of the latents reached.
        episode_length: AEL.
    """

    reward: Estimate
    transition: Estimate
    end: Estimate
    value_aware: float
    largest_value: float
    episode_length: float


def model_errors(
    steps: StepErrors, episode: Int[np.ndarray, " N"], features: Float[np.ndarray, "N F"], error: float = 0.05
) -> ModelErrors:
    """Summarize the errors of whole episodes.

    Args:
        steps: of every step.
        episode: the number of the episode that a step is of.
        features: of state and action, on which the systematic part of the residuals is regressed.
        error: probability that an upper bound fails, as far as the bootstrap is right.
    """
    count = int(episode.max()) + 1
    lengths = np.bincount(episode, minlength=count)

    def per_step(values: Any) -> Estimate:
        totals = np.bincount(episode, weights=np.asarray(values, np.float64), minlength=count)
        return Estimate(float(totals.sum() / lengths.sum()), bootstrap_upper(totals, lengths, error))

    return ModelErrors(
        per_step(steps.reward),
        per_step(steps.transition),
        per_step(steps.end),
        value_aware(np.asarray(steps.residual, np.float64), np.asarray(features, np.float64), episode),
        float(np.abs(np.asarray(steps.value)).max()),
        float(lengths.mean()),
    )


def value_aware(
    residual: NDArray[np.float64], features: NDArray[np.float64], episode: NDArray[Any], ridge: float = 1e-2
) -> float:
    """Root mean square of the residual's mean given state and action, as far as features predict it.

    The norm of L_P counts the world's own noise as an error; this does not. A linear prediction ``h`` of the residual
    ``e`` is fitted on every other episode and tested on the rest, where ``E[2 h e - h²] <= E[E[e | s, a]²]``, whatever
    ``h`` is: so it estimates the discrepancy from below, and is near 0 for a right model.
    """
    x = np.column_stack([np.ones(len(features)), features])
    parts = [episode % 2 == 0, episode % 2 == 1]
    if not all(part.any() for part in parts):
        return float("nan")
    explained = []
    for fit, test in (parts, parts[::-1]):
        gram = x[fit].T @ x[fit] + ridge * fit.sum() * np.eye(x.shape[1])
        h = x[test] @ np.linalg.solve(gram, x[fit].T @ residual[fit])
        explained.append(np.mean(2 * h * residual[test] - h**2))
    return float(np.sqrt(max(0.0, float(np.mean(explained)))))
