"""Parameters in four slices with an optimizer each, of which a phase of an update trains some.

Gradients are always those at the current values of *all* parameters. The official DreamSPI takes them at the values
that the others had when the phase began (``dream_spi.md``, deviation 1).
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import optax
from jaxtyping import Array, Float

from spi_plugins.agents.gradient_steps import Descent, TrainState, move
from spi_plugins.types import Params

# Which parts of a policy each slice has; "world_model" has all of the model.
_POLICY_PARTS = {
    "representation": ("extractor", "latent"),
    "actor": ("pi", "actor"),
    "critic": ("vf", "critic"),
}
SLICES = ("representation", "world_model", "actor", "critic")

Result = TypeVar("Result")


def split(params: Params) -> dict[str, Params]:
    """``{"policy": ..., "world_model": ...}`` as ``{slice: ...}``; every parameter is in one of them.

    Raises:
        ValueError: the critic has its own extractor, so that it cannot judge a latent.
    """
    known = {part for parts in _POLICY_PARTS.values() for part in parts}
    if set(params["policy"]) - known:
        raise ValueError(f"parts of the policy in no slice: {sorted(set(params['policy']) - known)}")
    slices = {
        name: {part: params["policy"][part] for part in parts if part in params["policy"]}
        for name, parts in _POLICY_PARTS.items()
    }
    return {**slices, "world_model": params["world_model"]}


def join(slices: dict[str, Params]) -> Params:
    """The inverse of ``split``."""
    policy = {part: tree for name in _POLICY_PARTS for part, tree in slices[name].items()}
    return {"policy": policy, "world_model": slices["world_model"]}


def init_slices(params: Params, optimizer: optax.GradientTransformation) -> TrainState:
    """Start one optimizer for each slice."""
    return TrainState(params, {name: optimizer.init(part) for name, part in split(params).items()})


class Training(NamedTuple):
    """How a phase trains."""

    optimizer: optax.GradientTransformation
    slices: tuple[str, ...]  # that move
    learning_rates: Float[Array, "4"]  # of all SLICES, in their order


def train_slices(
    state: TrainState,
    training: Training,
    run: Callable[[TrainState, Descent], tuple[TrainState, Result]],
) -> tuple[TrainState, Result]:
    """Let ``run`` train some slices, whose state it takes and returns as ``{slice: ...}``, while the others stay."""
    slices, rates = split(state.params), dict(zip(SLICES, training.learning_rates, strict=True))

    def complete(trained: Params) -> Params:
        return join({**slices, **trained})

    def step(state: TrainState, gradients: Params) -> TrainState:
        moved, advanced = {}, {}
        for name in training.slices:
            changes, advanced[name] = training.optimizer.update(
                gradients[name], state.opt_state[name], state.params[name]
            )
            moved[name] = move(state.params[name], changes, rates[name])
        return TrainState(moved, advanced)

    start = TrainState(
        *({name: tree[name] for name in training.slices} for tree in (slices, state.opt_state))
    )
    end, result = run(start, Descent(step, complete))
    return TrainState(complete(end.params), {**state.opt_state, **end.opt_state}), result
