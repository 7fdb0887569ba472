"""pgx: MinAtar and 2048, its games for one player.

>>> env = make_env("pgx:minatar-breakout")  # doctest: +SKIP

``pip install "spi-plugins[pgx]"``.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from spi_integrations.jax_envs import Moment, OutsideEnv, check_id, functional, import_package
from spi_plugins.envs.base import FunctionalEnv
from spi_plugins.errors import EnvironmentNotSupportedError
from spi_plugins.types import PyTree

_INSTALL = "'spi-plugins[pgx]'"


def make_functional(env_id: str, **kwargs: Any) -> FunctionalEnv:
    """Make a game of pgx for one player, for example ``"minatar-breakout"`` or ``"2048"``.

    ``terminated`` is pgx's own; these games have no time limit unless ``max_episode_steps`` sets one. Legal actions
    are the action masks of games in which an action can be illegal.

    Args:
        env_id: one of ``pgx.available_envs()``.
        **kwargs: ``max_episode_steps`` and ``cost_fn`` as in ``spi_integrations.jax_envs.functional``.

    Raises:
        MissingDependencyError: an ``ImportError``; pgx is not installed.
        EnvironmentNotSupportedError: a ``ValueError``; the game has several players.
        ValueError: the id is unknown.
        TypeError: there is no such argument.
    """
    check_id(env_id, import_package("pgx", _INSTALL).available_envs(), "pgx")
    return functional(_load, env_id, **kwargs)


def _load(env_id: str) -> OutsideEnv:
    env = import_package("pgx", _INSTALL).make(env_id)
    if env.num_players != 1:
        raise EnvironmentNotSupportedError(
            f"pgx's {env_id!r} has {env.num_players} players; one is supported."
        )
    first = jax.eval_shape(env.init, jax.random.key(0))

    def moment(state: Any) -> Moment:
        return Moment(state, state.observation, state.rewards[0], jnp.float32(0), state.terminated)

    def reset(key: jax.Array, _params: PyTree) -> Moment:
        return moment(env.init(key))

    def step(inner: PyTree, action: jax.Array, key: jax.Array, _params: PyTree) -> Moment:
        return moment(env.step(inner, action, key))

    is_bool = first.observation.dtype == bool
    low, high = (0.0, 1.0) if is_bool else (-np.inf, np.inf)
    return OutsideEnv(
        observation_space=spaces.Box(low, high, first.observation.shape, np.float32),
        action_space=spaces.Discrete(env.num_actions),
        reset=reset,
        step=step,
        # MinAtar allows every action at all times.
        action_masks=None if env_id.startswith("minatar-") else lambda inner: inner.legal_action_mask,
    )
