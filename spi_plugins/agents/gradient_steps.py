"""Gradient steps: where parameters move, and the two loops over minibatches, of a rollout and of a replay buffer."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from spi_plugins import buffers
from spi_plugins.buffers import Buffer, Windows
from spi_plugins.networks.hashed_bits import hashed_key
from spi_plugins.sharding import whole
from spi_plugins.types import Params, PyTree

M = TypeVar("M")
Metrics: TypeAlias = dict[str, Array]
Loss: TypeAlias = Callable[[Params, PyTree], tuple[Array, Metrics]]


def move(params: Params, changes: Params, rate: Array) -> Params:
    """Take the step that an optimizer without a learning rate proposes."""
    return jax.tree.map(lambda p, change: p - rate * change, params, changes)


class TrainState(NamedTuple):
    """Parameters, and the state of their optimizers."""

    params: Params
    opt_state: PyTree


class Descent(NamedTuple):
    """How some of the parameters are trained; both functions take the trained ones only."""

    step: Callable[[TrainState, Params], TrainState]  # of a state and gradients
    complete: Callable[[Params], Params] = lambda trained: trained  # to all that the loss needs


def descend(
    state: TrainState, descent: Descent, loss: Loss, entries: PyTree, target_kl: float | None = None
) -> tuple[TrainState, Metrics]:
    """One gradient step for each entry of ``entries``, each at the parameters that the step before left.

    ``loss`` is ``(params, entry) -> (loss, metrics)``, minimized. As in SB3, with ``target_kl`` a step whose
    ``approx_kl`` is above 1.5 times that is not taken, nor any after it.

    Returns:
        The state after all steps, and the metrics ``[M]`` with ``grad_norm`` and ``n_updates``, 1 for a step taken.
    """

    def one(carry: tuple[TrainState, Array], entry: PyTree) -> tuple[tuple[TrainState, Array], Metrics]:
        state, stopped = carry
        gradients, metrics = jax.grad(lambda trained: loss(descent.complete(trained), entry), has_aux=True)(
            state.params
        )
        new, taken = descent.step(state, gradients), jnp.ones(())
        if target_kl is not None:
            stopped = stopped | (metrics["approx_kl"] > 1.5 * target_kl)
            new = jax.tree.map(lambda new, old: jnp.where(stopped, old, new), new, state)
            taken = 1.0 - stopped.astype(jnp.float32)
        norm = jnp.asarray(optax.tree.norm(gradients))
        return (new, stopped), {**metrics, "grad_norm": norm, "n_updates": taken}

    (state, _), metrics = jax.lax.scan(one, (state, jnp.zeros((), bool)), entries)
    return state, metrics


def all_finite(tree: PyTree) -> Array:
    """Whether no number of a tree is NaN or infinite."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))


def choose(first: Array, these: PyTree, those: PyTree) -> PyTree:
    """One of two trees."""
    return jax.tree.map(lambda this, that: jnp.where(first, this, that), these, those)


def accept(
    new: TrainState, old: TrainState, loss: Array, learnable: Array | None
) -> tuple[TrainState, Array]:
    """The new state, or the old one if something is NaN or infinite, whose loss is then NaN.

    Args:
        new: after an update.
        old: before it.
        loss: of the update.
        learnable: whether the data were finite, if that is not known to be so.
    """
    good = all_finite((new, loss))
    if learnable is not None:
        good &= learnable
    return choose(good, new, old), jnp.where(good, loss, jnp.nan)


def replayed_update(
    step: Callable[..., tuple[Any, M]], batch_size: int, horizon: int
) -> Callable[..., tuple[Any, M]]:
    """Make the loop over gradient steps on ``batch_size`` windows of a replay buffer.

    ``step`` is ``(state, windows, learning_rate, key) -> (state, metrics)``, where the state has ``params`` and a
    ``key``, and the metrics are a tree of scalars.

    Returns:
        ``(state, data, n_updates, learning_rate) -> (state, means of the metrics)``. ``data`` is a ``Buffer``, or
        ``Windows`` with an axis of at least ``n_updates`` in front; ``n_updates`` may be traced, so that no number of
        steps compiles anew.
    """

    def update(state: Any, data: Buffer | Windows, n_updates: Array, learning_rate: Array) -> tuple[Any, M]:
        next_key, run_key = jax.random.split(state.key)
        run_key = hashed_key(run_key)

        def one(state: Any, i: Array) -> tuple[Any, M]:
            sample_key, step_key = jax.random.split(jax.random.fold_in(run_key, i))
            if isinstance(data, Buffer):
                windows = buffers.sample(data, sample_key, batch_size, horizon)
            else:
                windows = jax.tree.map(lambda x: x[i], data)
            return step(state, whole(windows), learning_rate, step_key)

        def body(i: Array, carry: tuple[Any, Array]) -> tuple[Any, Array]:
            state, metrics = one(carry[0], i)
            # One array: XLA would copy the computations of each scalar into those of all others.
            return state, carry[1] + jnp.stack(jax.tree.leaves(metrics))

        structure: Any = jax.tree.structure(jax.eval_shape(one, state, jnp.int32(0))[1])
        new, sums = jax.lax.fori_loop(0, n_updates, body, (state, jnp.zeros(structure.num_leaves)))
        told = all_finite(sums)
        good = all_finite(new.params) & told
        means = jnp.where(good | ~told, sums / jnp.maximum(n_updates, 1), jnp.nan)
        return choose(good, new, state)._replace(key=next_key), jax.tree.unflatten(structure, list(means))

    return update
