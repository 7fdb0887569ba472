"""The interface of world models: pure functions of one pytree of parameters, for planners, dreams and fits.

All functions take batches of ``N`` latents and may be called under ``jit`` and ``vmap``. Actions of a ``Box`` are float
vectors in [-1, 1], see ``actions.model_action``; others are as ``ActionSpec`` says.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float

from spi_plugins.checks import check_integer
from spi_plugins.hyperparameters import Config, check_below, hyperparameter
from spi_plugins.types import ActionSpec, Observation, ObservationSpec, Params, PyTree

PARTS = ("cost", "value", "cost_value", "policy", "termination", "decoder", "uncertainty")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSpec(Config):
    """Sizes and constants of a model. Hashable; refuses sizes out of range with a ``ValueError``."""

    latent_shape: tuple[int, ...]  # of one latent
    action_size: int  # entries of an action as a vector: in [-1, 1], or one-hots of discrete entries
    horizon: int = hyperparameter(3, "Steps predicted in a row in training, planners' default horizon", low=1)
    gamma: float = hyperparameter(0.99, "Discount of rewards per step", low=0, high=1)
    cost_gamma: float = hyperparameter(0.99, "Discount of costs per step", low=0, high=1)
    n_costs: int = hyperparameter(0, "Heads of the immediate cost; 0 without costs", low=0)
    n_values: int = hyperparameter(0, "Heads of the reward critic, `Model.value`; 0 without one", low=0)
    n_cost_values: int = hyperparameter(0, "Heads of the cost critic, `Model.cost_value`; 0 without", low=0)
    has_termination: bool = False  # whether ``Step.terminated`` is learned, not a constant 0
    nvec: tuple[int, ...] = ()  # values of each discrete entry of an action; empty for a Box
    action_shape: tuple[int, ...] = ()  # of a discrete action
    latent_low: float = -math.inf  # lower bound of the latent's entries; minus infinity without one
    latent_high: float = math.inf  # upper bound

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("action_size", self.action_size, low=1)
        check_below(self, "latent_low", "latent_high")
        if self.nvec and (
            sum(self.nvec) != self.action_size or math.prod(self.action_shape) != len(self.nvec)
        ):
            raise ValueError(
                f"action_size must be the sum of nvec, and action_shape hold one entry for each of them, got "
                f"{self.action_size}, {self.nvec} and {self.action_shape}."
            )

    @property
    def continuous(self) -> bool:
        """Whether actions are vectors in [-1, 1]."""
        return not self.nvec


class Step(NamedTuple):
    """One step of the model."""

    next_z: Float[Array, " N *Z"]
    reward: Float[Array, " N"]
    cost: Float[Array, "E N"]  # by each head; E is 0 without costs
    terminated: Float[Array, " N"]  # probability that next_z is terminal


class Heads(NamedTuple):
    """Everything that a model expects of actions, by each of its heads."""

    reward: Float[Array, " N"]
    cost: Float[Array, "E N"]  # E is 0 without costs
    value: Float[Array, "K N"]
    cost_value: Float[Array, "E N"]


class Model(NamedTuple):
    """Pure functions; ``None`` for a part that the model lacks.

    Attributes:
        spec: sizes and constants.
        encode: ``(params, obs) -> z``, ``[N, *obs]`` to ``[N, *Z]``.
        step: ``(params, z, action, key) -> Step``; with ``None`` for the key nothing is drawn: the result is the mean,
            or the most likely outcome where a mean may not be a state.
        value: ``(params, z, action, members) -> [K, N]``, discounted return by each head; ``members`` are the
            indices ``int32 [K]`` of the heads to compute, ``None`` for all.
        cost_value: the same for costs, in units of the cost.
        policy: ``(params, z, key, *, deterministic) -> [N, A]``.
        heads: ``(params, z, action) -> Heads``, for all that ``step``, ``value`` and ``cost_value`` tell in one call.
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
    heads: Callable[[Params, Array, Array], Heads] | None = None

    @property
    def parts(self) -> frozenset[str]:
        """Those of ``PARTS`` that the model has."""
        functions = (self.value, self.cost_value, self.policy)
        has = [self.spec.n_costs > 0, *(function is not None for function in functions)]
        has += [self.spec.has_termination, self.decode is not None, self.uncertainty is not None]
        return frozenset(part for part, present in zip(PARTS, has, strict=True) if present)

    def __repr__(self) -> str:
        spec = self.spec
        return (
            f"Model(latent_shape={spec.latent_shape}, action_size={spec.action_size}, horizon={spec.horizon}, "
            f"parts={sorted(self.parts)})"
        )


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

    def __repr__(self) -> str:
        return f"WorldModel(kind={self.kind!r}, model={self.model!r})"


class FittedModel(NamedTuple):
    """A model with its parameters: what is left when the agent that fitted it is gone.

    Attributes:
        model: pure functions.
        params: their parameters.
        observations: what the model encodes.
        actions: what the environment takes; ``actions.model_action`` turns them into the model's.
        kind: the registered kind of the world model, with which it can be pickled; ``None`` if it has none.
        settings: the arguments of the kind's factory.
    """

    model: Model
    params: Params
    observations: ObservationSpec
    actions: ActionSpec
    kind: str | None = None
    settings: dict[str, Any] | None = None

    def __repr__(self) -> str:
        total = sum(math.prod(x.shape) for x in jax.tree.leaves(self.params))
        return f"FittedModel(kind={self.kind!r}, model={self.model!r}, {total:,} parameters)"


def frozen_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Turn lists into tuples, so that settings from a file or a user are hashable."""
    return {name: _frozen(value) for name, value in settings.items()}


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value
