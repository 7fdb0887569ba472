"""Environments by name, as a run's recipe says."""

from stable_baselines3.common.vec_env import VecEnv

from spi_plugins import plugins
from spi_plugins.algorithms.named_envs import make_copies
from spi_plugins.cli.arguments import CommandError
from spi_plugins.cli.env_names import find_source
from spi_plugins.cli.env_recipe import EnvRecipe
from spi_plugins.errors import SPIError
from spi_plugins.plugins.registry import describe


def build_env(recipe: EnvRecipe, *, n_envs: int | None, seed: int, for_step_rows: bool = False) -> VecEnv:
    """Make copies of an environment, see ``make_copies``; the normalization is left out.

    Raises:
        UnknownPluginError: there is no such environment or wrapper.
        CommandError: it cannot be made.
    """
    source = find_source(recipe.env)
    how = recipe._asdict()
    name, _ = how.pop("env"), how.pop("normalize")
    try:
        return make_copies(name, n_envs=n_envs, seed=seed, for_step_rows=for_step_rows, **how)
    except (SPIError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a plugin's factory may even call sys.exit
        owner = "" if source == "gymnasium" else f" of {plugins.find_env(name)[0].owner}"
        raise CommandError(f"The environment {name!r}{owner} cannot be made: {describe(error)}") from error
