"""Jumanji: combinatorial problems in JAX, those of one agent.

>>> env = make_env("jumanji:Snake-v1")  # doctest: +SKIP

``pip install "spi-plugins[jumanji]"``.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from gymnasium import spaces

from spi_integrations.jax_envs import Moment, OutsideEnv, check_id, functional, import_package
from spi_plugins.envs.base import FunctionalEnv
from spi_plugins.errors import EnvironmentNotSupportedError
from spi_plugins.types import PyTree

_INSTALL = "'spi-plugins[jumanji]'"
_MASK = "action_mask"  # Jumanji's name for it, in observations


class _Counted(NamedTuple):
    """Jumanji's state, and how many steps led to it."""

    inner: PyTree
    elapsed: jax.Array


def make_functional(env_id: str, **kwargs: Any) -> FunctionalEnv:
    """Make an environment of Jumanji for one agent, for example ``"Snake-v1"`` or ``"Game2048-v1"``.

    Jumanji ends most episodes at its ``time_limit`` with a discount of 0, as if they had reached a terminal state. So
    steps are counted: an end at the time limit truncates, an earlier one with a discount of 0 terminates. Masks of
    single discrete actions are the action masks, all true where Jumanji's allows nothing; masks of joint actions stay
    in the observation.

    Args:
        env_id: one of ``jumanji.registered_environments()``.
        **kwargs: ``max_episode_steps`` and ``cost_fn`` as in ``spi_integrations.jax_envs.functional``, and arguments of
            the environment's constructor, such as ``time_limit``.

    Raises:
        MissingDependencyError: an ``ImportError``; Jumanji is not installed.
        EnvironmentNotSupportedError: a ``ValueError``; the environment has several agents, or its spaces are not
            supported.
        ValueError: the id is unknown.
        TypeError: the environment does not have an argument.
    """
    check_id(env_id, import_package("jumanji", _INSTALL).registered_environments(), "jumanji")
    return functional(_load, env_id, **kwargs)


def _load(env_id: str, **kwargs: Any) -> OutsideEnv:
    jumanji = import_package("jumanji", _INSTALL)
    env = jumanji.make(env_id, **kwargs)
    if env.reward_spec.shape:
        raise EnvironmentNotSupportedError(
            f"Jumanji's {env_id!r} rewards {env.reward_spec.shape[0]} agents; one is supported."
        )
    to_space = jumanji.specs.jumanji_specs_to_gym_spaces
    observed, action_space = to_space(env.observation_spec), to_space(env.action_spec)
    limit = getattr(env, "time_limit", None)
    masked = isinstance(observed, spaces.Dict) and _MASK in observed.spaces
    masks = None
    if masked and isinstance(action_space, spaces.Discrete):
        masks = _mask
        rest = {key: space for key, space in observed.items() if key != _MASK}
        observed = spaces.Dict(rest) if len(rest) > 1 else next(iter(rest.values()))

    def moment(made: tuple[PyTree, Any], elapsed: jax.Array) -> Moment:
        state, timestep = made
        obs = _tree(timestep.observation)
        if masks is not None:
            mask = obs.pop(_MASK)
            obs = obs if len(obs) > 1 else next(iter(obs.values()))
            state = (state, mask)
        ended = timestep.last() & (timestep.discount == 0)
        terminated = ended if limit is None else ended & (elapsed < limit)
        return Moment(_Counted(state, elapsed), obs, timestep.reward, jnp.float32(0), terminated)

    def reset(key: jax.Array, _params: PyTree) -> Moment:
        return moment(env.reset(key), jnp.int32(0))

    def step(inner: PyTree, action: jax.Array, _key: jax.Array, _params: PyTree) -> Moment:
        state = inner.inner if masks is None else inner.inner[0]
        return moment(env.step(state, action), inner.elapsed + 1)

    return OutsideEnv(
        observation_space=observed,
        action_space=action_space,
        reset=reset,
        step=step,
        max_episode_steps=limit,
        action_masks=masks,
    )


def _mask(inner: PyTree) -> jax.Array:
    mask: jax.Array = inner.inner[1].ravel()
    # A trapped snake has no legal move left before the step that ends its episode.
    return mask | ~jnp.any(mask)


def _tree(observation: Any) -> Any:
    """Named tuples and dataclasses as dictionaries."""
    if hasattr(observation, "_asdict"):
        observation = observation._asdict()
    elif hasattr(observation, "__dataclass_fields__"):
        observation = dict(vars(observation))
    if isinstance(observation, dict):
        return {key: _tree(part) for key, part in observation.items()}
    return observation
