"""What planners and dreams see of a learned world, and how it is fitted: pure functions on one pytree of parameters.

All functions work on batches, ``N`` latents at once, and may be called under ``jit`` and ``vmap``. Actions of a Box are
float vectors in [-1, 1], which the shell scales to the environment's bounds; others are as ``ActionSpec`` says.
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
    """Sizes of a model, and which parts it has. Hashable.

    Attributes:
        latent_shape: shape of one latent.
        action_size: entries of an action, each in [-1, 1].
        horizon: steps that the model was trained to predict in a row: the planners' default horizon.
        gamma: discount of rewards per step.
        cost_gamma: discount of costs per step.
        n_costs: heads of the immediate cost; 0 without one.
        n_values: heads of the critic of rewards; 0 without one.
        n_cost_values: heads of the critic of costs; 0 without one.
        has_termination: ``Step.terminated`` is learned, not a constant 0.
        continuous: actions are vectors in [-1, 1], which planners need; false for any other kind.
        latent_low: no entry of a latent is below it; minus infinity if nothing bounds them.
        latent_high: nor above it.
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
    """What one step of the model gives."""

    next_z: Float[Array, " N *Z"]
    reward: Float[Array, " N"]
    cost: Float[Array, "E N"]  # of each head; E is 0 without costs
    terminated: Float[Array, " N"]  # probability that next_z is terminal


class Model(NamedTuple):
    """Pure functions; a function whose part the model lacks is ``None``.

    Attributes:
        spec: sizes and parts.
        encode: ``(params, obs) -> z``, ``[N, *obs]`` to ``[N, *Z]``.
        step: ``(params, z, action, key) -> Step``; without a key (``None``), of the means, where nothing is drawn.
        value: ``(params, z, action, members) -> [K, N]``, discounted return by each head; ``members`` are the
            indices ``int32 [K]`` of the heads to compute, ``None`` for all.
        cost_value: the same of costs, in units of the cost.
        policy: ``(params, z, key, *, deterministic) -> [N, A]``.
        decode: ``(params, z) -> [N, *obs]``, a Box's observation in its own units, float32.
        uncertainty: ``(params, z, action) -> [N]``, how far the model's members disagree; at least 0.
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
    """How a model alone, without an agent that acts, is fitted to what a replay buffer holds.

    Attributes:
        init: ``(key, buffer) -> state``, a pytree; the buffer gives the data's means and deviations.
        update: ``(state, buffer, n_updates, learning_rate) -> (state, losses)``, as many gradient steps (a traced
            number) and the means of their losses, scalars by name. ``jit`` it with ``state`` donated.
        params: ``(state) -> params``.
    """

    init: Callable[[Array, Any], PyTree]
    update: Callable[[PyTree, Any, Array, Array], tuple[PyTree, dict[str, Array]]]
    params: Callable[[PyTree], Params]


class WorldModel(NamedTuple):
    """A kind of world model made for an observation and an action: what the hook ``register_world_models`` gives.

    Attributes:
        kind: the name that it is registered under.
        settings: numbers, strings, lists and ``None`` only, from which the kind's factory builds the same again.
        model: what planners and dreams see.
        init: ``(key) -> params``, whose layout a file's parameters must have.
        learner: ``None`` of a model that only an agent can fit.
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
    """Settings out of a file or a dict of the user's: lists as tuples, so that they are hashable."""
    return {name: _frozen(value) for name, value in settings.items()}


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value
