"""MuJoCo Playground: DeepMind's control suite, locomotion and manipulation on MuJoCo XLA.

>>> env = make_env("playground:CartpoleBalance")  # doctest: +SKIP

``pip install "spi-plugins[playground]"``. Locomotion and manipulation download models of robots at first use.
"""

from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from spi_integrations.brax_like import bridge
from spi_integrations.jax_envs import OutsideEnv, check_id, functional, import_package
from spi_plugins.envs.base import FunctionalEnv

_INSTALL = "'spi-plugins[playground]'"


def make_functional(env_id: str, **kwargs: Any) -> FunctionalEnv:
    """Make an environment of MuJoCo Playground, for example ``"CartpoleBalance"`` or ``"Go1JoystickFlatTerrain"``.

    ``done`` is a terminal state; episodes are truncated after the ``episode_length`` of the environment's config.
    Actions are in [-1, 1]. On a CPU ``impl`` is ``"jax"`` unless it is given.

    Args:
        env_id: one of ``mujoco_playground.registry.ALL_ENVS``.
        **kwargs: ``max_episode_steps`` and ``cost_fn`` as in ``spi_integrations.jax_envs.functional``, and fields of
            the environment's config.

    Raises:
        MissingDependencyError: an ``ImportError``; MuJoCo Playground is not installed.
        ValueError: the id is unknown.
        KeyError: the environment's config has no such field.
    """
    registry = import_package("mujoco_playground", _INSTALL).registry
    check_id(env_id, registry.ALL_ENVS, "MuJoCo Playground")
    return functional(_load, env_id, **kwargs)


def _load(env_id: str, **kwargs: Any) -> OutsideEnv:
    registry = import_package("mujoco_playground", _INSTALL).registry
    config = registry.get_default_config(env_id)
    if jax.default_backend() == "cpu" and "impl" in config:
        config.impl = "jax"  # Warp is for GPUs; on a CPU it leaks tracers in training
    config.update_from_flattened_dict(kwargs)
    env = registry.load(env_id, config=config)

    def render(state: Any) -> NDArray[np.uint8]:
        return np.asarray(env.render([state])[0], np.uint8)

    unit = np.tile([-1.0, 1.0], (env.action_size, 1))
    return bridge(env, unit, max_episode_steps=int(config.episode_length), render=render)
