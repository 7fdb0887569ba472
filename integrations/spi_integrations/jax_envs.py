"""Environments of other JAX packages as a ``FunctionalEnv``: what their bridges share.

Their ``step`` returns observation, reward and flags at once, so the state of the ``FunctionalEnv`` holds the newest of
them next to the package's own state.
"""

import dataclasses
import functools
import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp

from spi_plugins.envs.base import Configured, FunctionalEnv, Scalar
from spi_plugins.errors import MissingDependencyError
from spi_plugins.plugins import did_you_mean
from spi_plugins.spaces import action_spec, flat_observation, observation_spec
from spi_plugins.types import ArraySpec, Observation, ObservationSpec, PyTree, device_dtype


class Moment(NamedTuple):
    """One environment after a reset or a step."""

    inner: PyTree  # the package's state
    obs: Observation
    reward: Scalar  # of the step that led here; 0 after a reset, like the cost
    cost: Scalar
    terminated: jax.Array  # bool; a time limit does not count


class OutsideEnv(NamedTuple):
    """One environment of a package as pure functions.

    Attributes:
        observation_space: Gymnasium's, of what ``reset`` and ``step`` observe.
        action_space: Gymnasium's.
        reset: ``(key, params) -> Moment``.
        step: ``(inner, action, key, params) -> Moment``.
        params: a pytree that ``reset`` and ``step`` take.
        max_episode_steps: steps until truncation, or ``None``.
        action_masks: ``(inner) -> bool [P]``, the allowed values of all discrete entries, or ``None``.
        render: ``(inner) -> uint8 [height, width, 3]`` on the host, or ``None``.
    """

    observation_space: gymnasium.Space[Any]
    action_space: gymnasium.Space[Any]
    reset: Callable[[jax.Array, PyTree], Moment]
    step: Callable[[PyTree, jax.Array, jax.Array, PyTree], Moment]
    params: PyTree = ()
    max_episode_steps: int | None = None
    action_masks: Callable[[PyTree], jax.Array] | None = None
    render: Callable[[PyTree], object] | None = None


@dataclasses.dataclass(frozen=True)
class _Source:
    """How an environment is made. Two that are made alike are equal, so that they share their compilations."""

    load: Callable[..., OutsideEnv]
    env_id: str
    settings: str  # the arguments as text
    kwargs: Mapping[str, Any] = dataclasses.field(compare=False)


@functools.lru_cache(maxsize=64)
def _opened(source: _Source) -> OutsideEnv:
    return source.load(source.env_id, **source.kwargs)


def functional(
    load: Callable[..., OutsideEnv],
    env_id: str,
    *,
    max_episode_steps: int | None = None,
    cost_fn: Callable[..., Any] | str | None = None,
    **kwargs: Any,
) -> FunctionalEnv:
    """Make a ``FunctionalEnv`` of what ``load(env_id, **kwargs)`` returns.

    Args:
        load: a function at the top of a module.
        env_id: the package's name of the environment.
        max_episode_steps: steps until truncation, instead of the environment's own limit.
        cost_fn: ``(observation, action, next_observation) -> cost``, in JAX and of one transition, instead of the
            environment's own cost; or ``"module:function"``.
        **kwargs: for the package.

    Raises:
        EnvironmentNotSupportedError: an encoder cannot read the observations, or a policy cannot give such actions.
        ValueError: ``max_episode_steps`` is below 1, or ``cost_fn`` cannot be found.
    """
    if max_episode_steps is not None and max_episode_steps < 1:
        raise ValueError(f"max_episode_steps must be at least 1, got {max_episode_steps}.")
    computed: Callable[..., Any] | None = None
    if cost_fn is not None:
        computed = importlib.import_module("spi_wrappers.cost.from_fn").function_of("cost_fn", cost_fn)
    source = _Source(load, env_id, _text(kwargs), kwargs)
    outside = _opened(source)
    observed = observation_spec(outside.observation_space)
    return FunctionalEnv(
        observation_spec=_on_device(observed),
        action_spec=action_spec(outside.action_space),
        params=outside.params,
        initial=Configured(_initial, source),
        observation=_observation,
        transition=Configured(_transition, source),
        reward=_reward,
        cost=_cost if computed is None else Configured(_computed_cost, computed),
        terminal=_terminal,
        max_episode_steps=max_episode_steps or outside.max_episode_steps,
        render=None if outside.render is None else Configured(_render, source),
        name=env_id,
        action_masks=None if outside.action_masks is None else Configured(_action_masks, source),
    )


def _text(value: Any) -> str:
    """Equal for equal plain values; other objects equal themselves only, as the text of a long array has gaps."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key!r}: {_text(value[key])}' for key in sorted(value))}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    plain = value is None or isinstance(value, str | bool | int | float)
    return repr(value) if plain else f"{type(value).__name__} {id(value)}"


def _on_device(spec: ObservationSpec) -> ObservationSpec:
    """The spec with the dtypes that the device has; a Box of booleans becomes one of floats."""
    if not isinstance(spec, ArraySpec):
        return tuple((key, _part_on_device(part)) for key, part in spec)
    return _part_on_device(spec)


def _part_on_device(spec: ArraySpec) -> ArraySpec:
    dtype = device_dtype(spec.dtype)
    return dataclasses.replace(spec, dtype="float32" if (spec.kind, dtype) == ("box", "bool") else dtype)


def _seen(source: _Source, moment: Moment) -> Moment:
    """The moment in the declared dtypes."""
    spec, obs = _on_device(observation_spec(_opened(source).observation_space)), flat_observation(moment.obs)
    cast = (
        obs.astype(spec.dtype)
        if isinstance(spec, ArraySpec)
        else {k: obs[k].astype(s.dtype) for k, s in spec}
    )
    return Moment(
        inner=jax.tree.map(jnp.asarray, moment.inner),
        obs=cast,
        reward=jnp.asarray(moment.reward, jnp.float32),
        cost=jnp.asarray(moment.cost, jnp.float32),
        terminated=jnp.asarray(moment.terminated, bool),
    )


def _initial(source: _Source, key: jax.Array, params: PyTree) -> Moment:
    return _seen(source, _opened(source).reset(key, params))


def _transition(source: _Source, state: Moment, action: jax.Array, key: jax.Array, params: PyTree) -> Moment:
    after = _seen(source, _opened(source).step(state.inner, action, key, params))
    # Some packages change the dtype of a number in their state between reset and step.
    same: Moment = jax.tree.map(
        lambda new, old: new if new.dtype == old.dtype else new.astype(old.dtype), after, state
    )
    return same


def _observation(state: Moment, _params: PyTree) -> Observation:
    return state.obs


def _reward(_state: Moment, _action: jax.Array, after: Moment, _params: PyTree) -> Scalar:
    return after.reward


def _cost(_state: Moment, _action: jax.Array, after: Moment, _params: PyTree) -> Scalar:
    return after.cost


def _computed_cost(
    cost_fn: Callable[..., Any], state: Moment, action: jax.Array, after: Moment, _params: PyTree
) -> Scalar:
    return jnp.asarray(cost_fn(state.obs, action, after.obs), jnp.float32)


def _terminal(state: Moment, _params: PyTree) -> jax.Array:
    return state.terminated


def _action_masks(source: _Source, state: Moment, _params: PyTree) -> jax.Array:
    masks = _opened(source).action_masks
    assert masks is not None
    return masks(state.inner)


def _render(source: _Source, state: Moment, _params: PyTree) -> object:
    render = _opened(source).render
    assert render is not None
    return render(state.inner)


def import_package(package: str, install: str) -> Any:
    """Import a package of environments; ``install`` is what ``pip install`` needs for it.

    Raises:
        MissingDependencyError: an ``ImportError``; it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        name = package.partition(".")[0]
        raise MissingDependencyError(
            f"{name} environments need a package that is not installed ({error}): pip install {install}",
            name=name,
        ) from error


def check_id(env_id: str, known: Iterable[str], package: str) -> None:
    """Refuse an id that a package does not know.

    Raises:
        ValueError: the message names the closest.
    """
    known = sorted(known)
    if env_id not in known:
        hint = did_you_mean(env_id, known)
        raise ValueError(f"env_id={env_id!r} is unknown to {package}.{hint} Allowed: {', '.join(known)}.")
