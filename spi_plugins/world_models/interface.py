"""What a planner sees of a learned world: a struct of pure functions on one pytree of parameters.

All functions work on batches, ``N`` latents at once, and may be called under ``jit`` and ``vmap``. Actions are
float vectors in [-1, 1]; the shell scales them to the environment's bounds.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Array, Float

from spi_plugins.types import Observation, Params

PARTS = ("cost", "value", "cost_value", "policy", "termination")


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
        has_policy: there is a policy to sample actions from.
        has_termination: ``Step.terminated`` is learned, not a constant 0.
    """

    latent_shape: tuple[int, ...]
    action_size: int
    horizon: int = 3
    gamma: float = 0.99
    cost_gamma: float = 0.99
    n_costs: int = 0
    n_values: int = 0
    n_cost_values: int = 0
    has_policy: bool = False
    has_termination: bool = False

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

    @property
    def parts(self) -> frozenset[str]:
        """Those of ``PARTS`` that the model has."""
        has = (self.n_costs, self.n_values, self.n_cost_values, self.has_policy, self.has_termination)
        return frozenset(part for part, present in zip(PARTS, has, strict=True) if present)


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
        step: ``(params, z, action, key) -> Step``.
        value: ``(params, z, action, members) -> [K, N]``, discounted return by each head; ``members`` are the
            indices ``int32 [K]`` of the heads to compute, ``None`` for all.
        cost_value: the same of costs, in units of the cost.
        policy: ``(params, z, key, *, deterministic) -> [N, A]``.
    """

    spec: ModelSpec
    encode: Callable[[Params, Observation], Array]
    step: Callable[[Params, Array, Array, Array], Step]
    value: Callable[[Params, Array, Array, Array | None], Array] | None = None
    cost_value: Callable[[Params, Array, Array, Array | None], Array] | None = None
    policy: Callable[..., Array] | None = None
