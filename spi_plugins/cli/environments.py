"""Environments by name: registered ones, families such as EnvPool's, and whatever Gymnasium knows."""

from collections.abc import Mapping
from typing import Any

from stable_baselines3.common.vec_env import VecEnv

from spi_plugins import plugins
from spi_plugins.algorithms.named_envs import Wrappers, make_copies
from spi_plugins.cli.arguments import CommandError
from spi_plugins.cli.env_names import find_source
from spi_plugins.errors import SPIError
from spi_plugins.plugins.registry import describe


def build_env(
    name: str, *, n_envs: int | None, seed: int, env_kwargs: Mapping[str, Any], wrappers: Wrappers = ()
) -> VecEnv:
    """Make copies of an environment, see ``make_copies``.

    Raises:
        UnknownPluginError: there is no such environment.
        CommandError: it cannot be made.
    """
    source = find_source(name)
    try:
        return make_copies(name, n_envs=n_envs, seed=seed, env_kwargs=env_kwargs, wrappers=wrappers)
    except (SPIError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a plugin's factory may even call sys.exit
        owner = "" if source == "gymnasium" else f" of {plugins.find_env(name)[0].owner}"
        raise CommandError(f"The environment {name!r}{owner} cannot be made: {describe(error)}") from error
