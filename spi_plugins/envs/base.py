"""A functional environment: Gymnasium's ``FuncEnv`` vocabulary plus a cost, as a struct of pure functions.

Built-in environments and learned world models share this one interface, so one machinery gives vector
environments, Gymnasium's face and fully compiled training for both.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax

from spi_plugins.types import ActionSpec, Observation, ObservationSpec, PyTree


class FunctionalEnv(NamedTuple):
    """Pure functions of *one* environment; ``vmap`` them for many. ``params`` may change without a retrace.

    Attributes:
        observation_spec: what ``observation`` returns.
        action_spec: what ``transition`` takes.
        params: the default parameters, a pytree (``()`` if there are none).
        initial: ``(key, params) -> state``, a pytree.
        observation: ``(state, params) -> obs``.
        transition: ``(state, action, key, params) -> next_state``.
        reward: ``(state, action, next_state, params) -> float32 scalar``.
        cost: ``(state, action, next_state, params) -> float32 scalar``, 0 where there is none.
        terminal: ``(state, params) -> bool scalar``: no future after this state.
        max_episode_steps: steps until truncation, or ``None``.
        render: ``(state, params) -> uint8 [height, width, 3]`` frame made on the host, or ``None``.
        name: for messages.
        info: ``(state, params) -> dict of float32 scalars``, more to report of the step that led to a state.
        info_dtypes: ``(name, NumPy dtype on the host)`` of each of them.
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
