"""The statistics of ``VecNormalize`` next to a model whose file does not hold them: Stable-Baselines3's own."""

import pathlib
import pickle

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

from spi_plugins.algorithms.stored_algorithm import StoredAlgorithm
from spi_plugins.cli.arguments import CommandError
from spi_plugins.cli.run_folder import statistics_of
from spi_plugins.plugins.registry import describe


def save_statistics(model: BaseAlgorithm, path: pathlib.Path) -> None:
    """Write the file for a model that is saved in ``path``, if it needs one."""
    env = model.get_vec_normalize_env()
    if env is not None and not isinstance(model, StoredAlgorithm):
        env.save(str(statistics_of(path)))


def resume_statistics(model: BaseAlgorithm, path: pathlib.Path) -> None:
    """Give a model that was loaded from ``path`` the statistics that it was saved with, if it needs any.

    Raises:
        CommandError: as ``load_statistics``.
    """
    env = model.get_vec_normalize_env()
    if env is not None and not isinstance(model, StoredAlgorithm):
        load_statistics(env, path)


def load_statistics(env: VecNormalize, path: pathlib.Path) -> None:
    """Give an environment the statistics of a model in ``path``, which must be trusted: the file is a pickle.

    Raises:
        CommandError: the file is missing, or holds the statistics of other observations.
    """
    file = statistics_of(path)
    try:
        saved = VecNormalize.load(str(file), env.venv)
        env.ret_rms = saved.ret_rms
        if env.norm_obs:
            env.obs_rms = saved.obs_rms
    except (OSError, EOFError, ValueError, AssertionError, AttributeError, pickle.UnpicklingError) as error:
        raise CommandError(
            f"The statistics that {path} was trained with cannot be read from {file}: {describe(error)}"
        ) from error
