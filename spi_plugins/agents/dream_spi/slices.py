"""Parameters in four slices with an optimizer each, of which a phase of an update trains some.

Gradients are always those at the current values of *all* parameters. The official DreamSPI takes them at the values
that the others had when the phase began (``dream_spi.md``, deviation 1).
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from spi_plugins.agents.deep_spi.summary import StepStats
from spi_plugins.types import Params, PyTree

# Which parts of a policy each slice has; "world_model" has all of the model.
_POLICY_PARTS = {
    "representation": ("extractor", "latent"),
    "actor": ("pi", "actor"),
    "critic": ("vf", "critic"),
}
SLICES = ("representation", "world_model", "actor", "critic")

Loss: TypeAlias = Callable[[Params, PyTree], tuple[Array, StepStats]]


def split(params: Params) -> dict[str, Params]:
    """``{"policy": ..., "world_model": ...}`` as ``{slice: ...}``; every parameter is in one of them.

    Raises:
        ValueError: the critic has an extractor of its own, so that it cannot judge a latent.
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


class Learner(NamedTuple):
    """Parameters, and the state of each slice's optimizer."""

    params: Params
    opt_state: dict[str, PyTree]


def make_optimizer(max_grad_norm: float) -> optax.GradientTransformation:
    """Adam behind a bound of the gradient's norm, of one slice; learning rates come later."""
    return optax.chain(optax.clip_by_global_norm(max_grad_norm), optax.scale_by_adam(eps=1e-5))


def init_learner(params: Params, optimizer: optax.GradientTransformation) -> Learner:
    """Optimizers at their start."""
    return Learner(params, {name: optimizer.init(part) for name, part in split(params).items()})


class Descent(NamedTuple):
    """How to descend: the optimizer, the slices that are trained, and the rates of all ``SLICES``, in their order."""

    optimizer: optax.GradientTransformation
    trained: tuple[str, ...]
    learning_rates: Float[Array, "4"]


def descend(learner: Learner, descent: Descent, loss: Loss, inputs: PyTree) -> tuple[Learner, StepStats]:
    """One gradient step for each entry of ``inputs``, each at the parameters that the step before left.

    Args:
        learner: where to start.
        descent: what moves, and how far.
        loss: ``(params, input) -> (loss, StepStats)``, minimized.
        inputs: arrays with a leading axis of ``M`` steps.

    Returns:
        The learner after all steps, and the stats ``[M]``, with the gradient's norm over the trained slices filled in.
    """
    slices = split(learner.params)
    rates = dict(zip(SLICES, descent.learning_rates, strict=True))

    def step(carry: tuple[PyTree, PyTree], entry: PyTree) -> tuple[tuple[PyTree, PyTree], StepStats]:
        trained, opt_state = carry

        def of_trained(trained: PyTree) -> tuple[Array, StepStats]:
            return loss(join({**slices, **trained}), entry)

        gradients, stats = jax.grad(of_trained, has_aux=True)(trained)
        moved, advanced = {}, {}
        for name in descent.trained:
            changes, advanced[name] = descent.optimizer.update(gradients[name], opt_state[name])
            moved[name] = jax.tree.map(
                lambda p, change, rate=rates[name]: p - rate * change, trained[name], changes
            )
        metrics = stats.metrics._replace(grad_norm=jnp.asarray(optax.tree.norm(gradients)))
        return (moved, advanced), stats._replace(metrics=metrics)

    start, opt_state = (
        {name: tree[name] for name in descent.trained} for tree in (slices, learner.opt_state)
    )
    (moved, advanced), stats = jax.lax.scan(step, (start, opt_state), inputs)
    return Learner(join({**slices, **moved}), {**learner.opt_state, **advanced}), stats
