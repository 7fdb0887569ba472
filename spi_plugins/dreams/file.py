"""A fitted world model as a file: parameters, settings, spaces, start states, statistics and the report of its fit.

JSON and arrays only, as in model files: nothing in it is unpickled, and writes are atomic.
"""

import functools
import math
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from spi_plugins import plugins
from spi_plugins.archive import Archive, Format, PathOrFile, read_archive, write_archive, zip_path
from spi_plugins.arrays import flatten_arrays, restore_arrays
from spi_plugins.errors import ModelFileError, PluginError
from spi_plugins.space_json import decode_space, encode_space
from spi_plugins.spaces import action_spec, observation_spec
from spi_plugins.types import Observation, Params
from spi_plugins.world_models.fitted import FittedModel
from spi_plugins.world_models.interface import Model, WorldModel

_FORMAT = Format("spi-plugins world model", 2, "world model")
# What version 1 called the kinds.
_KINDS_OF_VERSION_1 = {"deep_mdp": "ensemble", "deep_spi": "deep_mdp"}
# Start states that a file keeps at most.
MAX_STARTS = 4096


class StoredWorldModel(NamedTuple):
    """What a file of a world model holds; dreams, planners and wrappers take it.

    Attributes:
        kind: the registered world model that it is of.
        settings: of the kind's factory.
        fitted: functions and parameters.
        observation_space: of the real environment, one observation.
        action_space: of the real environment.
        starts: latents of real states, float32 ``[S, *Z]``.
        first: bool ``[S]``, which of them begin an episode.
        latent_low: no latent of the data is below it, nor will a dream's be.
        latent_high: nor above it.
        decoded_space: what decoded observations are in: the real space, but finite, by the range of the data where the
            real one is not; ``None`` if observations are no Box.
        statistics: numbers about the data.
        report: how the fit went: losses, errors on data that was held out, where the data came from.
    """

    kind: str
    settings: dict[str, Any]
    fitted: FittedModel
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    starts: NDArray[np.float32]
    first: NDArray[np.bool_]
    latent_low: float
    latent_high: float
    decoded_space: spaces.Box | None
    statistics: dict[str, float]
    report: dict[str, Any]

    def save(self, path: PathOrFile) -> None:
        """Write the file; ``.zip`` is appended to a path without a suffix, missing folders are made."""
        data = {
            "kind": self.kind,
            "settings": self.settings,
            "observation_space": encode_space(self.observation_space),
            "action_space": encode_space(self.action_space),
            "latent_low": self.latent_low,
            "latent_high": self.latent_high,
            "decoded_space": None if self.decoded_space is None else encode_space(self.decoded_space),
            "statistics": self.statistics,
            "report": self.report,
        }
        parameters = {f"params/{name}": array for name, array in flatten_arrays(self.fitted.params).items()}
        arrays = {**parameters, "starts": self.starts, "first": self.first}
        write_archive(path, _FORMAT, data, arrays, {})


class Experience(NamedTuple):
    """Real observations out of which a file's start states are made.

    Attributes:
        obs: observations ``[S, ...]``, at least one.
        first: bool ``[S]``, which of them begin an episode.
    """

    obs: Observation
    first: NDArray[np.bool_]


def store_world_model(
    world: WorldModel,
    params: Params,
    spaces_: tuple[spaces.Space[Any], spaces.Space[Any]],
    experience: Experience,
    report: dict[str, Any],
) -> StoredWorldModel:
    """Put together what a file holds.

    Args:
        world: kind and functions.
        params: its parameters.
        spaces_: observation and action space of the real environment.
        experience: real states; ``MAX_STARTS`` of them, evenly spaced, are kept.
        report: how the fit went, what JSON can hold.

    Raises:
        ValueError: there is no observation.
    """
    total = len(experience.first)
    if not total:
        raise ValueError("A world model's file needs at least one real observation to start dreams from.")
    rows = np.unique(np.linspace(0, total - 1, min(total, MAX_STARTS)).round().astype(int))
    # The first observations of episodes are few, and dreams may begin with them alone.
    beginnings = np.flatnonzero(experience.first)[: MAX_STARTS // 4]
    rows = np.union1d(rows, beginnings)
    kept = jax.tree.map(lambda x: np.asarray(x)[rows], experience.obs)
    encode = jax.jit(world.model.encode)
    starts = np.concatenate(
        [np.asarray(encode(params, jax.tree.map(lambda x, i=i: x[i : i + 512], kept)))
         for i in range(0, len(rows), 512)]
    )  # fmt: skip
    low, high = latent_bounds(world.model, starts)
    observations, actions = (observation_spec(spaces_[0]), action_spec(spaces_[1]))
    return StoredWorldModel(
        kind=world.kind,
        settings=world.settings,
        fitted=FittedModel(world.model, params, observations, actions),
        observation_space=spaces_[0],
        action_space=spaces_[1],
        starts=starts.astype(np.float32),
        first=np.asarray(experience.first, bool)[rows],
        latent_low=low,
        latent_high=high,
        decoded_space=_finite_space(spaces_[0], experience.obs),
        statistics={
            "n_observations": float(total),
            "latent_mean": float(starts.mean()),
            "latent_deviation": float(starts.std()),
            "latent_norm": float(np.linalg.norm(starts.reshape(len(starts), -1), axis=1).mean()),
        },
        report=report,
    )


def _finite_space(space: spaces.Space[Any], obs: Observation) -> spaces.Box | None:
    if not isinstance(space, spaces.Box):
        return None
    least, most = (np.asarray(f(obs, axis=0), np.float64) for f in (np.min, np.max))
    margin = 0.5 * np.maximum(most - least, 1e-3)
    low = np.where(np.isfinite(space.low), space.low, least - margin)
    high = np.where(np.isfinite(space.high), space.high, most + margin)
    dtype: Any = space.dtype
    return spaces.Box(low.astype(dtype), high.astype(dtype), dtype=dtype.type)


def _box(stored: dict[str, Any] | None) -> spaces.Box | None:
    space = None if stored is None else decode_space(stored)
    if space is not None and not isinstance(space, spaces.Box):
        raise ValueError(f"decoded_space is no Box: {space}")
    return space


def latent_bounds(model: Model, latents: NDArray[np.float32]) -> tuple[float, float]:
    """What the model's last layer allows, else the range of real latents, widened by half of it on either side."""
    low, high = model.spec.latent_low, model.spec.latent_high
    if math.isfinite(low) and math.isfinite(high):
        return low, high
    least, most = float(latents.min()), float(latents.max())
    margin = 0.5 * max(most - least, 1e-3)
    return float(np.float32(least - margin)), float(np.float32(most + margin))


def load_world_model(path: PathOrFile) -> StoredWorldModel:
    """Read a file that ``save_world_model`` or ``StoredWorldModel.save`` wrote.

    Args:
        path: with or without ``.zip``; or an open binary file.

    Raises:
        FileNotFoundError: there is no such file.
        ModelFileError: the file is damaged, is no world model, comes from a newer version, or is of a kind that no
            plugin here knows.
    """
    if not isinstance(path, str | pathlib.Path):
        return _parse(_read(path), str(path))
    file = zip_path(path, for_reading=True)
    if not file.is_file():
        raise FileNotFoundError(f"There is no world model file {file}.")
    stat = file.stat()
    return _load(str(file.resolve()), stat.st_mtime_ns, stat.st_size)


# Cached, so that the copies in a vector environment share one model, and with it their compilations.
@functools.lru_cache(maxsize=16)
def _load(path: str, mtime: int, size: int) -> StoredWorldModel:
    del mtime, size  # only tell one version of the file from the next
    return _parse(_read(path), path)


def _read(source: PathOrFile) -> Archive:
    otherwise = (
        "A model that learn() trained is loaded by its class; its world model is saved by save_world_model()."
    )
    return read_archive(source, _FORMAT, otherwise=otherwise)


def _parse(file: Archive, name: str) -> StoredWorldModel:
    try:
        observation_space = decode_space(file.data["observation_space"])
        action_space = decode_space(file.data["action_space"])
        kind, settings = str(file.data["kind"]), dict(file.data["settings"])
        if file.data["format_version"] == 1:
            kind = _KINDS_OF_VERSION_1.get(kind, kind)
        observations, actions = observation_spec(observation_space), action_spec(action_space)
        world: WorldModel = plugins.resolve("world_models", kind)(observations, actions, **settings)
        starts, first = np.asarray(file.arrays["starts"], np.float32), file.arrays["first"].astype(bool)
        if starts.shape[1:] != world.model.spec.latent_shape or first.shape != starts.shape[:1]:
            raise ValueError(f"start states of shape {starts.shape} are not latents of the model")
        like = jax.eval_shape(world.init, jax.random.key(0))
        params = restore_arrays(like, file.part("params/"), what=f"The parameters in {name}")
        return StoredWorldModel(
            kind=kind,
            settings=settings,
            fitted=FittedModel(world.model, params, observations, actions),
            observation_space=observation_space,
            action_space=action_space,
            starts=starts,
            first=first,
            latent_low=float(file.data["latent_low"]),
            latent_high=float(file.data["latent_high"]),
            decoded_space=_box(file.data["decoded_space"]),
            statistics=dict(file.data["statistics"]),
            report=dict(file.data["report"]),
        )
    except PluginError as error:
        raise ModelFileError(
            f"{name} holds a world model of the kind {file.data.get('kind')!r}: {error}"
        ) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(
            f"{name} is damaged, its description is incomplete or garbled: {type(error).__name__}: {error}."
        ) from error
