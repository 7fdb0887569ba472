"""A dream alongside a real episode: it begins in the same state, and takes the same actions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from spi_plugins.actions import from_action, model_action
from spi_plugins.dreams.file import StoredWorldModel
from spi_plugins.spaces import to_device
from spi_plugins.types import Observation, Params


class Dreamt(NamedTuple):
    """What the model holds at one step."""

    step: int  # since the dream began in the latent of a real state
    z: NDArray[np.float32]  # the latent, ``[*Z]``
    real_z: NDArray[np.float32]  # that of the real state at this step
    decoded: (
        NDArray[np.float32] | None
    )  # the observation that the latent stands for, if the model has a decoder
    reward: float | None = None  # predicted for the step that led here; ``None`` where a dream begins
    cost: float | None = None  # also ``None`` without costs
    termination: float | None = None  # probability; also ``None`` if the model predicts none


class DreamAlongside:
    """Follows one real episode after another with the model's means.

    Args:
        stored: the world model.
        horizon: steps after which the dream begins again in the present real state.
        original: turns the observations that are given here into those that the model was fitted to.
    """

    def __init__(
        self,
        stored: StoredWorldModel,
        horizon: int,
        original: Callable[[Observation], Observation] = lambda obs: obs,
    ) -> None:
        self.stored, self.horizon, self._original = stored, horizon, original
        model = stored.fitted.model
        self._encode = jax.jit(model.encode)
        self._decode = None if model.decode is None else jax.jit(model.decode)
        self._step = jax.jit(self._stepped)
        self._z: Any = None
        self._at = 0

    def _stepped(self, params: Params, z: jax.Array, action: jax.Array) -> Any:
        return self.stored.fitted.model.step(
            params, z, model_action(self.stored.fitted.actions, action), None
        )

    def begin(self, obs: Observation) -> Dreamt:
        """Begin in the state of a batch of one observation."""
        self._z, self._at = self._encoded(obs), 0
        return self._seen(self._z)

    def step(self, action: NDArray[Any], obs: Observation) -> Dreamt:
        """Take a batch of one action; ``obs`` is the observation that it led to in reality."""
        fitted, real = self.stored.fitted, self._encoded(obs)
        taken = from_action(self.stored.action_space, np.asarray(action))
        step = self._step(fitted.params, self._z, jnp.asarray(taken))
        self._z, self._at = (
            jnp.clip(step.next_z, self.stored.latent_low, self.stored.latent_high),
            self._at + 1,
        )
        dreamt = self._seen(real)._replace(reward=float(step.reward[0]))
        if fitted.model.spec.n_costs:
            dreamt = dreamt._replace(cost=max(float(np.mean(np.asarray(step.cost)[:, 0])), 0.0))
        if fitted.model.spec.has_termination:
            dreamt = dreamt._replace(termination=float(step.terminated[0]))
        if self._at >= self.horizon:
            self._z, self._at = real, 0
        return dreamt

    def _encoded(self, obs: Observation) -> Any:
        return self._encode(
            self.stored.fitted.params, to_device(self.stored.observation_space, self._original(obs))
        )

    def _seen(self, real: Any) -> Dreamt:
        decoded = None if self._decode is None else self._decode(self.stored.fitted.params, self._z)
        return Dreamt(
            self._at,
            np.asarray(self._z[0]),
            np.asarray(real[0]),
            None if decoded is None else np.asarray(decoded[0]),
        )
