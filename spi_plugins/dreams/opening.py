"""A dream out of a file: what Gymnasium's faces make, and what compiled training takes as its environment."""

import os
from typing import Any, Literal

import gymnasium
import jax.numpy as jnp
import numpy as np

from spi_plugins.dreams.env import DreamConfig, make_dream
from spi_plugins.dreams.file import StoredWorldModel, latent_bounds, load_world_model
from spi_plugins.dreams.ids import DREAM_ID
from spi_plugins.envs.base import FunctionalEnv
from spi_plugins.world_models.fitted import FittedModel

Start = Literal["buffer", "initial", "fixed"]
STARTS = ("buffer", "initial", "fixed")


def find_world_model(model: str | os.PathLike[str]) -> StoredWorldModel:
    """The world model behind a path, or behind the name of a registered dream.

    Raises:
        FileNotFoundError: it is neither.
        ModelFileError: the file is damaged.
    """
    spec = gymnasium.registry.get(str(model))
    if spec is not None and "model" in spec.kwargs:
        return load_world_model(spec.kwargs["model"])
    try:
        return load_world_model(str(model))
    except FileNotFoundError as error:
        names = [name for name, known in gymnasium.registry.items() if _is_dream(known) and name != DREAM_ID]
        raise FileNotFoundError(
            f"model={str(model)!r} is neither a world model's file nor a registered dream; registered: "
            f"{', '.join(sorted(names)) or 'none'}."
        ) from error


def _is_dream(spec: Any) -> bool:
    return str(spec.entry_point).startswith("spi_wrappers.dream:")


def open_dream(
    model: str | os.PathLike[str] | StoredWorldModel, *, start: Start = "buffer", **options: Any
) -> FunctionalEnv:
    """A functional environment out of a world model.

    Args:
        model: path of its file, name of a registered dream, or the loaded file.
        start: ``"buffer"`` begins episodes in any real state that the file holds, ``"initial"`` in those that began
            an episode in reality, ``"fixed"`` in the first of them.
        **options: fields of ``spi_plugins.dreams.env.DreamConfig`` but for the latent's bounds, which the file knows.

    Raises:
        FileNotFoundError: there is no such file or name.
        ModelFileError: the file is damaged.
        ValueError: an option is out of range, or the model lacks what it needs.
        TypeError: an option is unknown.
    """
    stored = model if isinstance(model, StoredWorldModel) else find_world_model(model)
    config = DreamConfig(latent_low=stored.latent_low, latent_high=stored.latent_high, **options)
    space = stored.decoded_space
    bounds = {} if space is None else {"obs_low": space.low, "obs_high": space.high}
    starts = choose_starts(stored.starts, stored.first, start)
    return make_dream(stored.fitted, jnp.asarray(starts), config, **bounds, name="Dream")


def choose_starts(
    starts: np.ndarray[Any, Any], first: np.ndarray[Any, Any], start: str
) -> np.ndarray[Any, Any]:
    """Those of the start states that ``start`` means.

    Raises:
        ValueError: ``start`` is unknown, or no state begins an episode.
    """
    if start not in STARTS:
        raise ValueError(f"start must be one of {', '.join(map(repr, STARTS))}, got {start!r}.")
    if start == "buffer":
        return starts
    if not first.any():
        raise ValueError(f"start={start!r} needs a state that began an episode; the model's file has none.")
    beginnings: np.ndarray[Any, Any] = starts[first]
    return beginnings if start == "initial" else beginnings[:1]


def live_dream(fitted: FittedModel, starts: Any, **options: Any) -> FunctionalEnv:
    """A functional environment out of a model that is still being trained.

    Args:
        fitted: model and parameters, for example ``model.world_model``.
        starts: latents of real states, ``[S, *Z]``.
        **options: fields of ``spi_plugins.dreams.env.DreamConfig``.

    Raises:
        ValueError: an option is out of range, the model lacks what it needs, or the starts are no latents of it.
        TypeError: an option is unknown.
    """
    if "latent_low" not in options and "latent_high" not in options:
        low, high = latent_bounds(fitted.model, np.asarray(starts, np.float32))
        options |= {"latent_low": low, "latent_high": high}
    return make_dream(fitted, jnp.asarray(starts), DreamConfig(**options), name="Dream")
