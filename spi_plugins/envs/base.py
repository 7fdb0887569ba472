"""A functional environment: Gymnasium's ``FuncEnv`` vocabulary plus a cost, as a struct of pure functions.

Built-in environments and learned world models share this interface, and with it vector environments, the Gymnasium API
and fully compiled training.
"""

import dataclasses
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from spi_plugins.types import ActionSpec, Observation, ObservationSpec, PyTree

RandomKey: TypeAlias = Key[Array, ""]
Scalar: TypeAlias = Float[Array, ""]


class EnvTables(NamedTuple):
    """An environment whose states are enumerated, without its step limit; on the host.

    Attributes:
        observations: of each state, with a leading axis ``S``.
        transition: probability of the next state (last axis), given state and action, the only entry of its space.
        reward: its mean, given state and action.
        start: distribution of the first state.
        terminal: which states end an episode.
    """

    observations: Observation
    transition: Float[np.ndarray, "S A S"]
    reward: Float[np.ndarray, "S A"]
    start: Float[np.ndarray, " S"]
    terminal: Bool[np.ndarray, " S"]


class FunctionalEnv(NamedTuple):
    """Pure functions of *one* environment; ``vmap`` them for many. ``params`` may change without a retrace.

    Attributes:
        observation_spec: what ``observation`` returns.
        action_spec: what ``transition`` takes.
        params: the default parameters, a pytree; ``()`` without any.
        initial: ``(key, params) -> state``, a pytree.
        observation: ``(state, params) -> obs``.
        transition: ``(state, action, key, params) -> next_state``.
        reward: ``(state, action, next_state, params) -> float32 scalar``.
        cost: ``(state, action, next_state, params) -> float32 scalar``, always 0 in a task without costs.
        terminal: ``(state, params) -> bool scalar``, whether the state ends the episode.
        max_episode_steps: steps until truncation, or ``None``.
        render: ``(state, params) -> uint8 [height, width, 3]``, a frame drawn on the host, or ``None``.
        name: the name in error messages.
        info: ``(state, params) -> dict of float32 scalars``, infos of the step that led to the state.
        info_dtypes: ``(name, NumPy dtype on the host)`` of each info.
        action_masks: ``(state, params) -> bool [action_spec.size]``, which values are allowed in the state, those of
            all discrete entries concatenated; ``None`` if all always are.
        own_reward: like ``reward``, which a wrapper has changed: what returns of episodes sum up; ``None`` for
            ``reward``.
        tables: ``(params) -> EnvTables``, exact certificates need them; ``None`` where states cannot be enumerated. An
            environment made from another one clears it.
        cost_limit: what an episode may cost, if the task says so: a constraint's limit unless the user gives another.
    """

    observation_spec: ObservationSpec
    action_spec: ActionSpec
    params: PyTree
    initial: Callable[[jax.Array, PyTree], PyTree]
    observation: Callable[[PyTree, PyTree], Observation]
    transition: Callable[[PyTree, jax.Array, jax.Array, PyTree], PyTree]
    reward: Callable[[PyTree, jax.Array, PyTree, PyTree], jax.Array]
    cost: Callable[[PyTree, jax.Array, PyTree, PyTree], jax.Array]
    terminal: Callable[[PyTree, PyTree], jax.Array]
    max_episode_steps: int | None = None
    render: Callable[[PyTree, PyTree], "object"] | None = None
    name: str = "FunctionalEnv"
    info: Callable[[PyTree, PyTree], dict[str, jax.Array]] | None = None
    info_dtypes: tuple[tuple[str, str], ...] = ()
    action_masks: Callable[[PyTree, PyTree], jax.Array] | None = None
    own_reward: Callable[[PyTree, jax.Array, PyTree, PyTree], jax.Array] | None = None
    tables: Callable[[PyTree], EnvTables] | None = None
    cost_limit: float | None = None


def no_cost(_state: PyTree, _action: jax.Array, _after: PyTree, _params: PyTree) -> Scalar:
    """The cost of a task without costs."""
    return jnp.zeros(())


@dataclasses.dataclass(frozen=True)
class Configured:
    """``function`` with ``config`` as its first argument.

    Unlike two ``functools.partial``, two of these are equal if their parts are. So environments with equal settings
    share one compilation, even after pickling.
    """

    function: Callable[..., Any]  # defined at the top of a module, so that it can be pickled
    config: Hashable  # frozen, therefore hashable

    def __call__(self, *args: Any) -> Any:
        """Call ``function(config, *args)``."""
        return self.function(self.config, *args)
