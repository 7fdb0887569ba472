"""The running statistics of a ``VecNormalize``, as part of a model file."""

import warnings
from typing import Any

import numpy as np
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize

from spi_plugins.algorithms.saved_model import NORMALIZATION
from spi_plugins.archive import Archive
from spi_plugins.arrays import flatten_arrays, restore_arrays
from spi_plugins.types import PyTree


def _all_moments(env: VecNormalize) -> dict[str, RunningMeanStd]:
    """By the name of the observation, or by ``""``; the rewards' by ``"/reward"``."""
    observations = getattr(env, "obs_rms", {})  # missing with norm_obs=False
    named = observations if isinstance(observations, dict) else {"": observations}
    return {**named, "/reward": env.ret_rms}


def read_statistics(env: VecNormalize | None) -> PyTree:
    """Copies of everything that changes as the environment is stepped; ``None`` without a ``VecNormalize``."""
    if env is None:
        return None
    moments = {
        name: {"mean": np.array(each.mean), "var": np.array(each.var), "count": np.array(each.count)}
        for name, each in _all_moments(env).items()
    }
    return {"moments": moments, "returns": np.array(env.returns)}


def restore_statistics(env: VecNormalize | None, file: Archive, exact: bool) -> None:
    """Give an environment the statistics that a file has.

    Args:
        env: the ``VecNormalize`` around the environment. One that has seen observations keeps its own
            statistics, unless the environment itself was put back to where the file left it.
        file: a model file.
        exact: whether it was.
    """
    stored = file.part(NORMALIZATION)
    if not stored:
        return
    if env is None:
        warnings.warn(
            "The model was trained under VecNormalize, but env is not wrapped in one: its observations are not "
            "normalized. The statistics are in the model's file; give an env in a new VecNormalize to restore them.",
            stacklevel=5,
        )
        return
    moments = _all_moments(env)
    is_new = all(each.count < 1 for each in moments.values())
    if not is_new and not (exact and env.training):
        return
    target = read_statistics(env)
    if stored["returns"].shape != env.returns.shape:  # another number of copies
        stored["returns"] = env.returns
    if set(stored) != set(flatten_arrays(target)):
        warnings.warn(
            "The statistics of VecNormalize in the model's file are of other observations; env keeps its own.",
            stacklevel=5,
        )
        return
    restored: Any = restore_arrays(target, stored, what="The statistics of VecNormalize")
    env.returns = restored["returns"]
    for name, each in moments.items():
        values = restored["moments"][name]
        each.mean, each.var, each.count = values["mean"], values["var"], values["count"].item()
