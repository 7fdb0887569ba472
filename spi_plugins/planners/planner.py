"""What a planner is: two pure functions for one environment, which the caller maps over many."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from jaxtyping import Array, Float, Shaped

from spi_plugins.action_heads import ActionHead, make_action_head
from spi_plugins.types import PyTree
from spi_plugins.world_models.model import Model, ModelSpec

# One latent.
Latent: TypeAlias = Shaped[Array, "*Z"]

# What a decision reports: scalars by name, the same names at every decision. Names in use: "value" and "cost_value"
# (estimates for what was chosen), "value_threshold", "cost_threshold", "n_feasible" (candidates within the
# thresholds), "planned" (1 if the planner's action was taken, 0 if the policy's).
PlanMetrics: TypeAlias = dict[str, Float[Array, ""]]

# The model's action, [A] in [-1, 1] or int32, next state, metrics.
Decision: TypeAlias = tuple[Shaped[Array, "*S"], PyTree, PlanMetrics]


class Planner(NamedTuple):
    """A search procedure.

    Attributes:
        name: the name under which it is registered.
        requires: the parts of the model that it uses, from ``world_models.model.PARTS``.
        init: ``(spec) -> state``, the planner's state at the start of an episode, for one environment.
        plan: ``(model, params, z, state, key, *, deterministic) -> (action, state, metrics)`` for one latent ``[*Z]``;
            the action is ``[A]`` in [-1, 1], or int32 ``[*S]`` if the model's are discrete. ``deterministic`` (a Python
            bool) leaves out the exploration noise.
        discrete: whether it plans discrete actions, too.
    """

    name: str
    requires: frozenset[str]
    init: Callable[[ModelSpec], PyTree]
    plan: Callable[..., Decision]
    discrete: bool = False


def head_of(spec: ModelSpec) -> ActionHead:
    """What a search does with a model's actions."""
    return make_action_head(spec.nvec, spec.action_shape, spec.action_size)


def check_parts(planner: Planner, model: Model) -> None:
    """Refuse a model that lacks a part that the planner uses. Planners themselves don't check.

    Raises:
        ValueError: a part is missing, or actions are discrete and the planner cannot plan them.
    """
    if not (model.spec.continuous or planner.discrete):
        raise ValueError(
            f"The planner {planner.name!r} needs a model of actions in a Box; this one's are discrete."
        )
    missing = sorted(planner.requires - model.parts)
    if missing:
        raise ValueError(
            f"The planner {planner.name!r} needs a model with {', '.join(missing)}; this one has "
            f"{', '.join(sorted(model.parts)) or 'a reward only'}."
        )
