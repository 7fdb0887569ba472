"""A fitted world model as a file: parameters, settings, spaces, start states, statistics and a report of the fit."""

import copyreg
import functools
import io
import math
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from spi_plugins import plugins
from spi_plugins.archive import Format, PathOrFile, describing, existing_file, read_archive, write_archive
from spi_plugins.arrays import flatten_arrays, restore_arrays
from spi_plugins.errors import ModelFileError, PluginError
from spi_plugins.space_json import decode_space, encode_space
from spi_plugins.spaces import action_spec, observation_spec
from spi_plugins.types import Observation, Params
from spi_plugins.world_models.model import FittedModel, Model, WorldModel

_OTHERWISE = (
    "Load a model that learn() trained with its class; save_world_model() writes its world model alone."
)
_FORMAT = Format("spi-plugins world model", 2, "world model", _OTHERWISE, finite=("params/", "starts"))
# What version 1 called the kinds.
_KINDS_OF_VERSION_1 = {"deep_mdp": "ensemble", "deep_spi": "deep_mdp"}
# The most start states that a file keeps.
MAX_STARTS = 4096


class StoredWorldModel(NamedTuple):
    """The contents of a world-model file, which dreams, planners and wrappers take.

    Attributes:
        kind: the name under which the kind of world model is registered.
        settings: the arguments of the kind's factory.
        fitted: functions and parameters.
        observation_space: that of the real environment.
        action_space: that of the real environment.
        starts: latents of real states, float32 ``[S, *Z]``.
        first: which of ``starts`` begin an episode, bool ``[S]``.
        latent_low: lower bound of the latents, in the data and in dreams.
        latent_high: upper bound of the latents.
        decoded_space: the space of decoded observations: the real one, with the range of the data in place of infinite
            bounds; ``None`` unless observations are a Box.
        statistics: numbers about the data.
        report: how the fit went: losses, held-out errors, and the origin of the data.
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
        """Write the file; a path without a suffix gets ``.zip``, and missing folders are created."""
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
        write_archive(path, _FORMAT, data, arrays)

    def __repr__(self) -> str:
        return (
            f"StoredWorldModel(kind={self.kind!r}, observation_space={_short(self.observation_space)}, "
            f"action_space={_short(self.action_space)}, {len(self.starts)} starts, fitted={self.fitted!r})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        file = io.BytesIO()
        self.save(file)
        return _from_bytes, (file.getvalue(),)


def _from_bytes(file: bytes) -> StoredWorldModel:
    return _read(io.BytesIO(file))


def _short(space: spaces.Space[Any]) -> str:
    text = repr(space)
    return text if len(text) <= 80 else f"{type(space).__name__} of shape {space.shape}"


def _reduce_fitted(fitted: FittedModel) -> tuple[Any, ...]:
    """A fitted model as the arguments of its kind's factory, and arrays; its functions cannot be pickled."""
    if fitted.kind is None:
        return FittedModel, tuple(fitted)
    arrays = flatten_arrays(fitted.params)
    return _rebuilt, (fitted.kind, fitted.settings, fitted.observations, fitted.actions, arrays)


def _rebuilt(
    kind: str, settings: dict[str, Any], observations: Any, actions: Any, arrays: dict[str, NDArray[Any]]
) -> FittedModel:
    world: WorldModel = plugins.resolve("world_models", kind)(observations, actions, **settings)
    like = jax.eval_shape(world.init, jax.random.key(0))
    params = restore_arrays(like, arrays, what="The parameters")
    return FittedModel(world.model, params, observations, actions, kind, settings)


copyreg.pickle(FittedModel, _reduce_fitted)


class Experience(NamedTuple):
    """Real observations, which become the start states of a file."""

    obs: Observation  # observations ``[S, ...]``, at least one
    first: NDArray[np.bool_]  # which of them begin an episode, bool ``[S]``


def store_world_model(
    world: WorldModel,
    params: Params,
    spaces_: tuple[spaces.Space[Any], spaces.Space[Any]],
    experience: Experience,
    report: dict[str, Any],
) -> StoredWorldModel:
    """Assemble the contents of a file, with ``MAX_STARTS`` of the observations, evenly spaced, as start states.

    Raises:
        ValueError: there are no observations.
    """
    total = len(experience.first)
    if not total:
        raise ValueError("A world-model file needs at least one real observation for dreams to start from.")
    rows = np.unique(np.linspace(0, total - 1, min(total, MAX_STARTS)).round().astype(int))
    # First observations are few, and start="initial" uses only them.
    beginnings = np.flatnonzero(experience.first)[: MAX_STARTS // 4]
    rows = np.union1d(rows, beginnings)
    kept = jax.tree.map(lambda x: np.asarray(x)[rows], experience.obs)
    encode = jax.jit(world.model.encode)
    starts = np.concatenate(
        [np.asarray(encode(params, jax.tree.map(lambda x, i=i: x[i : i + 512], kept)))
         for i in range(0, len(rows), 512)]
    )  # fmt: skip
    low, high = latent_bounds(world.model, starts)
    observations, actions = observation_spec(spaces_[0]), action_spec(spaces_[1])
    return StoredWorldModel(
        kind=world.kind,
        settings=world.settings,
        fitted=FittedModel(world.model, params, observations, actions, world.kind, world.settings),
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
    dtype: Any = np.dtype(observation_spec(space).dtype)  # type: ignore[union-attr]
    return spaces.Box(low.astype(dtype), high.astype(dtype), dtype=dtype.type)


def latent_bounds(model: Model, latents: NDArray[np.float32]) -> tuple[float, float]:
    """The bounds of the model's last layer or, without any, the range of ``latents`` widened by half on either side."""
    low, high = model.spec.latent_low, model.spec.latent_high
    if math.isfinite(low) and math.isfinite(high):
        return low, high
    least, most = float(latents.min()), float(latents.max())
    margin = 0.5 * max(most - least, 1e-3)
    return float(np.float32(least - margin)), float(np.float32(most + margin))


def load_world_model(path: PathOrFile) -> StoredWorldModel:
    """Read a file that ``save_world_model`` or ``StoredWorldModel.save`` wrote.

    Args:
        path: the path, with or without ``.zip``, or an open binary file.

    Raises:
        FileNotFoundError: the file does not exist.
        ModelFileError: the file is damaged, not a world model, from a newer version, or of a kind that no installed
            plugin provides.
    """
    if not isinstance(path, str | pathlib.Path):
        return _read(path)
    file = existing_file(path, _FORMAT.what)
    stat = file.stat()
    return _load(str(file.resolve()), stat.st_mtime_ns, stat.st_size)


# Cached, so that the copies in a vector environment share one model and its compilations.
@functools.lru_cache(maxsize=16)
def _load(path: str, mtime: int, size: int) -> StoredWorldModel:
    del mtime, size  # only tell one version of the file from the next
    return _read(path)


def _read(source: PathOrFile) -> StoredWorldModel:
    file = read_archive(source, _FORMAT)
    with describing(file.name):
        observation_space = decode_space(file.data["observation_space"])
        action_space = decode_space(file.data["action_space"])
        kind, settings = str(file.data["kind"]), dict(file.data["settings"])
        if file.data["format_version"] == 1:
            kind = _KINDS_OF_VERSION_1.get(kind, kind)
        observations, actions = observation_spec(observation_space), action_spec(action_space)
        try:
            factory = plugins.resolve("world_models", kind)
        except PluginError as error:
            raise ModelFileError(f"{file.name} holds a world model of the kind {kind!r}: {error}") from error
        world: WorldModel = factory(observations, actions, **settings)
        starts, first = np.asarray(file.arrays["starts"], np.float32), file.arrays["first"].astype(bool)
        if starts.shape[1:] != world.model.spec.latent_shape or first.shape != starts.shape[:1]:
            raise ValueError(f"start states of shape {starts.shape} are not latents of the model")
        latent_low, latent_high = float(file.data["latent_low"]), float(file.data["latent_high"])
        if not (
            len(starts) and np.isfinite(starts).all() and -math.inf < latent_low < latent_high < math.inf
        ):
            raise ValueError("there are no start states, or they or the bounds of the latent are not finite")
        decoded_space = file.data["decoded_space"] and decode_space(file.data["decoded_space"])
        if not isinstance(decoded_space, spaces.Box | None):
            raise ValueError(f"decoded_space is not a Box: {decoded_space}")
        like = jax.eval_shape(world.init, jax.random.key(0))
        params = restore_arrays(like, file.part("params/"), what=f"The parameters in {file.name}")
        return StoredWorldModel(
            kind=kind,
            settings=settings,
            fitted=FittedModel(world.model, params, observations, actions, kind, settings),
            observation_space=observation_space,
            action_space=action_space,
            starts=starts,
            first=first,
            latent_low=latent_low,
            latent_high=latent_high,
            decoded_space=decoded_space,
            statistics=dict(file.data["statistics"]),
            report=dict(file.data["report"]),
        )
