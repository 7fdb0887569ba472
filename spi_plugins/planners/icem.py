"""iCEM: the cross-entropy method with noise that is correlated in time, and elites that are kept.

Pinneri et al., "Sample-efficient Cross-Entropy Method for Real-time Planning" (arXiv:2008.06389). Noise has a power-law
spectrum, the population shrinks from iteration to iteration, elites are kept for the next iteration and, shifted by
a step, for the next decision, the mean is a candidate in the last iteration, and the best sequence is executed instead
of the mean. There is no exploration noise besides the sampling.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from spi_plugins.hyperparameters import configured, hyperparameter, with_default
from spi_plugins.planners.config import ElitesConfig
from spi_plugins.planners.estimate import estimate
from spi_plugins.planners.planner import Decision, Latent, Planner
from spi_plugins.types import Params
from spi_plugins.world_models.model import Model, ModelSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class ICEMConfig(ElitesConfig):
    """Settings of ``icem``; the defaults are those of the published experiments except for the horizon."""

    num_samples: int = hyperparameter(40, "Action sequences in the first iteration", low=1)
    decay: float = hyperparameter(
        1.25, "Each iteration has this many times fewer sequences, but at least twice the elites", low=1
    )
    num_elites: int = with_default(ElitesConfig, "num_elites", 10)
    iterations: int = with_default(ElitesConfig, "iterations", 3)
    momentum: float = hyperparameter(0.1, "Share of the old mean and deviation", low=0, below=1)
    init_std: float = hyperparameter(0.5, "First standard deviation, in units of the action", above=0)
    noise_exponent: float = hyperparameter(3.0, "Exponent of the noise's falling spectrum; 0: white", low=0)
    keep_fraction: float = hyperparameter(0.3, "Share of the elites that are kept", low=0, high=1)

    @property
    def num_kept(self) -> int:
        """Elites that go on to the next iteration and the next decision."""
        return int(self.keep_fraction * self.num_elites)

    @property
    def populations(self) -> tuple[int, ...]:
        """New sequences of each iteration."""
        sizes = [self.num_samples]
        for _ in range(self.iterations - 1):
            sizes.append(max(2 * self.num_elites, int(sizes[-1] / self.decay)))
        return tuple(sizes)


class ICEMState(NamedTuple):
    """What one decision passes to the next, which shifts it by a step."""

    mean: Float[Array, "H A"]
    elites: Float[Array, "H E A"]


def colored_noise(
    horizon: int, n: int, action_size: int, exponent: float, key: Array
) -> Float[Array, "H N A"]:
    """Draw normal noise of unit variance whose power spectrum falls as ``frequency ** -exponent``.

    It has the distribution of noise shaped in the frequency domain (Timmer and Koenig, 1995), but is a product with a
    matrix: stationary, and periodic in the horizon.
    """
    frequencies = np.fft.rfftfreq(horizon)
    frequencies[0] = 1.0 / horizon  # a constant has the power of the slowest wave
    row = np.fft.irfft(frequencies ** (-exponent / 2.0), n=horizon)
    row /= np.linalg.norm(row)
    coloring = np.stack([np.roll(row, shift) for shift in range(horizon)]).astype(np.float32)
    return jnp.einsum("ht,tna->hna", coloring, jax.random.normal(key, (horizon, n, action_size)))


def make_icem(**settings: Any) -> Planner:
    """Make iCEM from fields of ``ICEMConfig``.

    Raises:
        ValueError: a setting is unknown or out of range.
    """
    config = configured(ICEMConfig, settings)

    def init(spec: ModelSpec) -> ICEMState:
        horizon = config.horizon or spec.horizon
        return ICEMState(
            jnp.zeros((horizon, spec.action_size)), jnp.zeros((horizon, config.num_kept, spec.action_size))
        )

    def sample(state: ICEMState, std: Array, n: int, key: Array) -> Float[Array, "H N A"]:
        horizon, action_size = state.mean.shape
        noise = colored_noise(horizon, n, action_size, config.noise_exponent, key)
        return jnp.clip(state.mean[:, None] + std[:, None] * noise, -1.0, 1.0)

    def plan(
        model: Model, params: Params, z: Latent, state: ICEMState, key: Array, *, deterministic: bool
    ) -> Decision:
        last_key, *iteration_keys = jax.random.split(key, config.iterations + 1)
        std = jnp.full_like(state.mean, config.init_std)
        # One step later: the mean repeats its last action, and elites draw a new one.
        state = state._replace(mean=jnp.concatenate([state.mean[1:], state.mean[-1:]]))
        new_last = sample(state, std, config.num_kept, last_key)[-1:]
        state = state._replace(elites=jnp.concatenate([state.elites[1:], new_last]))
        value = jnp.zeros(())
        for iteration, (n, iteration_key) in enumerate(
            zip(config.populations, iteration_keys, strict=True), start=1
        ):
            sample_key, value_key = jax.random.split(iteration_key)
            candidates = [sample(state, std, n, sample_key), state.elites]
            if iteration == config.iterations:
                candidates.append(state.mean[:, None])
            actions = jnp.concatenate(candidates, axis=1)
            values = estimate(model, params, z, actions, value_key, with_cost=False).value
            best, index = jax.lax.top_k(values, config.num_elites)
            elites = actions[:, index]
            value, action = best[0], elites[0, 0]
            keep, renew = config.momentum, 1.0 - config.momentum
            std = keep * std + renew * jnp.std(elites, axis=1)
            mean = keep * state.mean + renew * jnp.mean(elites, axis=1)
            state = ICEMState(mean, elites[:, : config.num_kept])
        metrics = {"value": value, "std": jnp.mean(std), "planned": jnp.ones(())}
        return action, state, metrics

    return Planner("icem", frozenset(), init, plan)
