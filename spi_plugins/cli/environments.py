"""Environments by name, as a run's recipe says."""

from collections.abc import Mapping
from typing import Any

from stable_baselines3.common.vec_env import VecEnv, VecFrameStack, VecNormalize

from spi_plugins import plugins
from spi_plugins.algorithms.named_envs import make_copies
from spi_plugins.cli.arguments import CommandError
from spi_plugins.cli.env_names import find_source
from spi_plugins.cli.env_recipe import EnvRecipe
from spi_plugins.errors import SPIError
from spi_plugins.plugins.registry import describe


def build_env(recipe: EnvRecipe, *, n_envs: int | None, seed: int, for_step_rows: bool = False) -> VecEnv:
    """Make copies of an environment, see ``make_copies``, without what goes around all of them.

    Raises:
        UnknownPluginError: there is no such environment or wrapper.
        CommandError: it cannot be made.
    """
    source = find_source(recipe.env)
    how = recipe._asdict()
    name, _, _ = how.pop("env"), how.pop("normalize"), how.pop("frame_stack")
    try:
        return make_copies(name, n_envs=n_envs, seed=seed, for_step_rows=for_step_rows, **how)
    except (SPIError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a plugin's factory may even call sys.exit
        owner = "" if source == "gymnasium" else f" of {plugins.find_env(name)[0].owner}"
        raise CommandError(f"The environment {name!r}{owner} cannot be made: {describe(error)}") from error


def around_copies(env: VecEnv, normalize: Mapping[str, Any] | None, frame_stack: int | None) -> VecEnv:
    """An environment in ``VecNormalize`` and then ``VecFrameStack``, which is rl_zoo3's order.

    Raises:
        CommandError: one of them refuses the environment or the arguments.
    """
    if normalize is not None:
        try:
            env = VecNormalize(env, **normalize)
        except (ValueError, TypeError, AssertionError) as error:
            raise CommandError(f"--normalize cannot be used with this environment: {error}") from error
    if frame_stack is not None:
        try:
            env = VecFrameStack(env, frame_stack)
        except (ValueError, TypeError, AssertionError) as error:
            space = env.observation_space
            raise CommandError(
                f"--frame-stack takes observations in a Box or a Dict of them, not {space}."
            ) from error
    return env
