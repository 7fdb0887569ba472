"""The running statistics of a ``VecNormalize``: as part of a model file, and as they were before NaN came."""

import inspect
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize

from spi_plugins.algorithms.saved_model import NORMALIZATION
from spi_plugins.archive import Archive
from spi_plugins.arrays import flatten_arrays, restore_arrays
from spi_plugins.errors import NotFiniteError
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
    _write_statistics(env, restore_arrays(target, stored, what="The statistics of VecNormalize"))


class KeptStatistics:
    """Copies of the statistics, because ``VecNormalize`` takes in NaN before anyone can refuse it."""

    def __init__(self, env: VecNormalize | None) -> None:
        self._env = env
        self.keep()

    def keep(self) -> None:
        """Copy those of now."""
        self._kept = read_statistics(self._env)

    def put_back(self, error: NotFiniteError) -> NotFiniteError:
        """Return to the copy; the error, with the environments where the NaN was before it spread."""
        if self._env is None:
            return error
        _write_statistics(self._env, self._kept)
        arrays = [*jax.tree.leaves(self._env.get_original_obs()), self._env.get_original_reward()]
        finite = [np.isfinite(x).reshape(len(x), -1).all(axis=1) for x in arrays]
        rows = np.flatnonzero(~np.logical_and.reduce(finite))
        if not rows.size:
            return error
        origin = ", ".join(map(str, rows))
        return NotFiniteError(f"{error} VecNormalize spread it; it came from environment {origin}.")


def _write_statistics(env: VecNormalize, statistics: Any) -> None:
    env.returns = statistics["returns"]
    for name, each in _all_moments(env).items():
        values = statistics["moments"][name]
        each.mean, each.var, each.count = values["mean"], values["var"], values["count"].item()


def has_observations(file: Archive) -> bool:
    """Whether a model file has statistics of observations, so that its model expects normalized ones."""
    names = [name for name in file.part(NORMALIZATION) if name.startswith("moments/")]
    return any(not name.startswith("moments//reward/") for name in names)


class Normalization(NamedTuple):
    """How a ``VecNormalize`` changes observations, as it is now."""

    moments: Mapping[
        str, tuple[NDArray[np.float64], NDArray[np.float64]]
    ]  # mean and variance by key; ``""`` for an array
    epsilon: float
    clip: float


def normalization_of(env: VecNormalize | None) -> Normalization | None:
    """What an environment does to observations; ``None`` for nothing."""
    if env is None or not env.norm_obs:
        return None
    moments = {
        name: (np.array(each.mean), np.array(each.var))
        for name, each in _all_moments(env).items()
        if name != "/reward"
    }
    return Normalization(moments, env.epsilon, env.clip_obs)


def stored_normalization(file: Archive, arguments: Mapping[str, Any]) -> Normalization | None:
    """What the environment of a model file did to observations, given the arguments of its ``VecNormalize``."""
    stored = file.part(f"{NORMALIZATION}moments/")
    names = {name.rpartition("/")[0] for name in stored} - {"/reward"}
    if not names:
        return None
    defaults = inspect.signature(VecNormalize).parameters
    epsilon, clip = (float(arguments.get(name, defaults[name].default)) for name in ("epsilon", "clip_obs"))
    return Normalization(
        {name: (stored[f"{name}/mean"], stored[f"{name}/var"]) for name in names}, epsilon, clip
    )
