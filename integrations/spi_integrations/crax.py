"""CRAX: constrained tasks on MuJoCo XLA, with costs.

>>> env = make_env("crax:safe_goal_point", level=1)  # doctest: +SKIP

``pip install "spi-plugins[crax]"``, which installs ``crax-bench``.
"""

from typing import Any

from spi_integrations.brax_like import bridge, control_range, drawn_by
from spi_integrations.jax_envs import OutsideEnv, functional, import_package
from spi_plugins.envs.base import FunctionalEnv

_INSTALL = "'spi-plugins[crax]'"
_EPISODE = 1000  # steps, where the environment states no other length


def make_functional(env_id: str, **kwargs: Any) -> FunctionalEnv:
    """Make an environment of CRAX, for example ``"safe_goal_point"`` or ``"safe_velocity_ant"``.

    The cost of a step is CRAX's ``state.metrics["cost"]``. ``done`` is a terminal state; episodes are truncated after
    the environment's ``episode_length``.

    Args:
        env_id: the name of a class registered with CRAX.
        **kwargs: ``max_episode_steps`` and ``cost_fn`` as in ``spi_integrations.jax_envs.functional``; ``level``, the
            difficulty, 1 to 3; and arguments of the environment's class.

    Raises:
        MissingDependencyError: an ``ImportError``; CRAX is not installed.
        ValueError: the id is unknown.
        TypeError: the environment does not have an argument.
    """
    return functional(_load, env_id, **kwargs)


def _load(env_id: str, **kwargs: Any) -> OutsideEnv:
    env = import_package("crax.envs", _INSTALL).get_environment(env_id, **kwargs)
    return bridge(
        env,
        control_range(env),
        max_episode_steps=int(getattr(env, "episode_length", _EPISODE)),
        cost=lambda state: state.metrics["cost"],
        render=drawn_by(env),
    )
