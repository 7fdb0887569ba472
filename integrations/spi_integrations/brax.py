"""Brax: robots in JAX.

>>> env = make_env("brax:ant", backend="spring")  # doctest: +SKIP

``pip install "spi-plugins[brax]"``.
"""

from typing import Any

from spi_integrations.brax_like import bridge, control_range, drawn_by
from spi_integrations.jax_envs import OutsideEnv, check_id, functional, import_package
from spi_integrations.jax_families import JAX_FAMILIES
from spi_plugins.envs.base import FunctionalEnv

_INSTALL = "'spi-plugins[brax]'"
_EPISODE = 1000  # steps, as Brax's own training counts them


def make_functional(env_id: str, **kwargs: Any) -> FunctionalEnv:
    """Make an environment of Brax, for example ``"ant"`` or ``"inverted_pendulum"``.

    Without Brax's wrappers ``done`` is a terminal state; episodes are truncated after 1000 steps.

    Args:
        env_id: the name of a class registered with Brax.
        **kwargs: ``max_episode_steps`` and ``cost_fn`` as in ``spi_integrations.jax_envs.functional``, and arguments of
            the environment's class, such as ``backend``: ``"generalized"``, ``"positional"``, ``"spring"`` or
            ``"mjx"``.

    Raises:
        MissingDependencyError: an ``ImportError``; Brax is not installed.
        ValueError: the id is unknown.
        TypeError: the environment does not have an argument.
    """
    return functional(_load, env_id, **kwargs)


def _load(env_id: str, **kwargs: Any) -> OutsideEnv:
    envs = import_package("brax.envs", _INSTALL)
    try:
        env = envs.get_environment(env_id, **kwargs)
    except KeyError:
        check_id(env_id, JAX_FAMILIES["brax"][1], "Brax")
        raise
    return bridge(env, control_range(env), max_episode_steps=_EPISODE, render=drawn_by(env))
