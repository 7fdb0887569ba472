"""What a planner is: two pure functions, for one environment; whoever calls it maps it over many."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from jaxtyping import Array, Float

from spi_plugins.types import PyTree
from spi_plugins.world_models.model import ModelSpec

# What a decision reports: scalars by name, the same names at every decision. Names in use: "value" and
# "cost_value" (estimates of what was chosen), "value_threshold", "cost_threshold", "n_feasible" (candidates that
# passed the thresholds), "planned" (1 if the planner's action was taken, 0 if the policy's).
PlanMetrics: TypeAlias = dict[str, Float[Array, ""]]


class Planner(NamedTuple):
    """A search procedure.

    Attributes:
        name: under which it is registered.
        requires: parts of the model that it uses, of ``world_models.model.PARTS``.
        init: ``(spec) -> state``, the pytree that goes from one decision of an episode to the next, at an
            episode's start; for one environment.
        plan: ``(model, params, z, state, key, *, deterministic) -> (action, state, metrics)`` for one latent
            ``[*Z]``; the action is ``[A]`` in [-1, 1]. ``deterministic`` (a Python bool) leaves out the
            exploration noise.
    """

    name: str
    requires: frozenset[str]
    init: Callable[[ModelSpec], PyTree]
    plan: Callable[..., tuple[Array, PyTree, PlanMetrics]]


def check_parts(planner: Planner, spec: ModelSpec) -> None:
    """Refuse a model that lacks what the planner uses.

    Raises:
        ValueError: naming the planner and the missing parts, or actions that are not continuous.
    """
    if not spec.continuous:
        raise ValueError(
            f"The planner {planner.name!r} needs a model of actions in a Box; this one's are discrete."
        )
    missing = sorted(planner.requires - spec.parts)
    if missing:
        raise ValueError(
            f"The planner {planner.name!r} needs a model with {', '.join(missing)}; this one has "
            f"{', '.join(sorted(spec.parts)) or 'a reward only'}."
        )
