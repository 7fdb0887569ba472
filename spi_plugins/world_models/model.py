"""The interface of world models: pure functions of one pytree of parameters, for planners, dreams and fits.

All functions take batches of ``N`` latents and may be called under ``jit`` and ``vmap``. Actions of a ``Box`` are float
vectors in [-1, 1], see ``actions.model_action``; others are as ``ActionSpec`` says.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array, Float

from spi_plugins.types import ActionSpec, Observation, ObservationSpec, Params, PyTree

PARTS = ("cost", "value", "cost_value", "policy", "termination", "decoder", "uncertainty")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Sizes and constants of a model. Hashable.

    Attributes:
        latent_shape: shape of one latent.
        action_size: entries of an action, each in [-1, 1].
        horizon: steps that the model was trained to predict in a row, the planners' default horizon.
        gamma: discount of rewards per step.
        cost_gamma: discount of costs per step.
        n_costs: heads of the immediate cost; 0 without costs.
        n_values: heads of the reward critic, ``Model.value``; 0 without one.
        n_cost_values: heads of the cost critic, ``Model.cost_value``; 0 without one.
        has_termination: ``Step.terminated`` is learned, not a constant 0.
        continuous: actions are vectors in [-1, 1], which planners need; false for any other kind.
        latent_low: lower bound of the latent's entries; minus infinity without one.
        latent_high: upper bound.
    """

    latent_shape: tuple[int, ...]
    action_size: int
    horizon: int = 3
    gamma: float = 0.99
    cost_gamma: float = 0.99
    n_costs: int = 0
    n_values: int = 0
    n_cost_values: int = 0
    has_termination: bool = False
    continuous: bool = True
    latent_low: float = -math.inf
    latent_high: float = math.inf

    def __post_init__(self) -> None:
        """Check every size.

        Raises:
            ValueError: one is out of range.
        """
        for name in ("action_size", "horizon"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("n_costs", "n_values", "n_cost_values"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        for name in ("gamma", "cost_gamma"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        if not self.latent_low < self.latent_high:
            raise ValueError(f"latent_low={self.latent_low} must be below latent_high={self.latent_high}")


class Step(NamedTuple):
    """One step of the model."""

    next_z: Float[Array, " N *Z"]
    reward: Float[Array, " N"]
    cost: Float[Array, "E N"]  # by each head; E is 0 without costs
    terminated: Float[Array, " N"]  # probability that next_z is terminal


class Model(NamedTuple):
    """Pure functions; ``None`` for a part that the model lacks.

    Attributes:
        spec: sizes and constants.
        encode: ``(params, obs) -> z``, ``[N, *obs]`` to ``[N, *Z]``.
        step: ``(params, z, action, key) -> Step``; with ``None`` for the key nothing is drawn and means are returned.
        value: ``(params, z, action, members) -> [K, N]``, discounted return by each head; ``members`` are the
            indices ``int32 [K]`` of the heads to compute, ``None`` for all.
        cost_value: the same for costs, in units of the cost.
        policy: ``(params, z, key, *, deterministic) -> [N, A]``.
        decode: ``(params, z) -> [N, *obs]``, a Box's observation in its own units, float32.
        uncertainty: ``(params, z, action) -> [N]``, the disagreement between the model's members; at least 0.
    """

    spec: ModelSpec
    encode: Callable[[Params, Observation], Array]
    step: Callable[[Params, Array, Array, Array | None], Step]
    value: Callable[[Params, Array, Array, Array | None], Array] | None = None
    cost_value: Callable[[Params, Array, Array, Array | None], Array] | None = None
    policy: Callable[..., Array] | None = None
    decode: Callable[[Params, Array], Array] | None = None
    uncertainty: Callable[[Params, Array, Array], Array] | None = None

    @property
    def parts(self) -> frozenset[str]:
        """Those of ``PARTS`` that the model has."""
        functions = (self.value, self.cost_value, self.policy)
        has = [self.spec.n_costs > 0, *(function is not None for function in functions)]
        has += [self.spec.has_termination, self.decode is not None, self.uncertainty is not None]
        return frozenset(part for part, present in zip(PARTS, has, strict=True) if present)


class Learner(NamedTuple):
    """Fits a model to a replay buffer, without an agent that acts.

    Attributes:
        init: ``(key, buffer) -> state``, a pytree; the buffer provides the data's means and standard deviations.
        update: ``(state, buffer, n_updates, learning_rate) -> (state, losses)``: takes ``n_updates`` gradient steps (a
            traced number) and returns the means of their losses, scalars by name. ``jit`` it with ``state`` donated.
        params: ``(state) -> params``.
    """

    init: Callable[[Array, Any], PyTree]
    update: Callable[[PyTree, Any, Array, Array], tuple[PyTree, dict[str, Array]]]
    params: Callable[[PyTree], Params]


class WorldModel(NamedTuple):
    """A world model built for an observation and an action space, by a factory from ``register_world_models``.

    Attributes:
        kind: the name under which the factory is registered.
        settings: numbers, strings, lists and ``None`` only, from which the factory builds the same model again.
        model: the model as planners and dreams see it.
        init: ``(key) -> params``; the parameters in a file must have the same layout.
        learner: ``None`` for a model that only an agent can fit.
    """

    kind: str
    settings: dict[str, Any]
    model: Model
    init: Callable[[Array], Params]
    learner: Learner | None = None


class FittedModel(NamedTuple):
    """A model with its parameters: what is left when the agent that fitted it is gone.

    Attributes:
        model: pure functions.
        params: their parameters.
        observations: what the model encodes.
        actions: what the environment takes; ``actions.model_action`` turns them into the model's.
    """

    model: Model
    params: Params
    observations: ObservationSpec
    actions: ActionSpec


def frozen_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Turn lists into tuples, so that settings from a file or a user are hashable."""
    return {name: _frozen(value) for name, value in settings.items()}


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value
